"""
The process that stores, for benches: told what by lines of JSON, answers when it did.

A line has the contender's side ("sync" or "aio") and name, the ids, and a pause before.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from typing import Any

#: Where the contenders of a store are, by the scheme of its URL.
CONTENDERS = {
    "mongodb": "mongo_contenders",
    "postgresql": "sql_contenders",
    "rpc": "rpc_contenders",
}


class Storer:
    """
    Stores as any contender, with connections that stay.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        scheme = url.partition("://")[0]
        self._known: Any = importlib.import_module(CONTENDERS.get(scheme, "contenders"))
        self._made: dict[tuple[str, str], Any] = {}
        self._runner = asyncio.Runner()

    def _contender(self, side: str, name: str) -> Any:
        if (side, name) not in self._made:
            known = self._known.SYNC if side == "sync" else self._known.AIO
            self._made[side, name] = known[name][1](self._url)
        return self._made[side, name]

    def store(self, side: str, name: str, ids: list[str], pause: float) -> dict[str, float]:
        contender = self._contender(side, name)
        time.sleep(pause)
        start = time.monotonic()
        if side == "sync":
            for task_id in ids:
                contender.store(task_id)
        else:
            self._runner.run(_store_all(contender, ids))
        return {"start": start, "end": time.monotonic()}


async def _store_all(contender: Any, ids: list[str]) -> None:
    for task_id in ids:
        await contender.store(task_id)


def main() -> None:
    storer = Storer(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(storer.store(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
