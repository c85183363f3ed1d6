"""
See `coatcheck._backends.lookups`; for asyncio, whose own lookups keep the threads of the loop's executor,
and the end of the loop waits for those.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from .lookups import LOOKUPS, Addresses, numeric, silent


async def addresses(host: str, port: int, seconds: float) -> Addresses:
    """See `coatcheck._backends.lookups.addresses`."""
    known = numeric(host, port)
    if known is not None:
        return known
    loop, answered = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop ended meanwhile
            loop.call_soon_threadsafe(answered.set)

    lookup = LOOKUPS.ask(host, port)
    lookup.when_done(tell)
    try:
        async with asyncio.timeout(None if seconds == math.inf else max(seconds, 0.0)):
            await answered.wait()
    except TimeoutError:
        raise silent(host, seconds) from None
    return lookup.answer
