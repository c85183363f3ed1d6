"""
A reader in plain asyncio, which goes on where it was cut off: `python follow.py ID [NUMBER]`.
"""

from __future__ import annotations

import asyncio
import sys

from coatcheck import aio


async def follow(task_id: str, after: int = 0) -> None:
    """Print the events of a task after the number *after*, until the task is over."""
    async with aio.by_url() as results:  # the URL is in COATCHECK_URL
        async for event in results.events(task_id, after, timeout=60):
            if event.dropped:
                print(f"{event.dropped} events are gone")
            print(event.number, event.state or event.kind, event.data)


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], *map(int, sys.argv[2:])))
