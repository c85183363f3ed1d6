"""
What it saves to send statements to libpq past SQLAlchemy and psycopg, see `coatcheck_sql.wire`: both ways
in turns, in one run, against one PostgreSQL.

Prints, for each operation of both sides, the quickest time of each way and the median of the ratios.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.sql import PostgreSQLServer

import coatcheck
import coatcheck.aio

#: How many tasks a turn stores or reads, one by one or together.
SIZES = {"store": 150, "fetch": 150, "store_many": 500, "get_many": 500}
TURNS = 15


def operate(results: coatcheck.Results, kind: str, ids: list[str]) -> None:
    """
    Do what *kind* says with *ids*.
    """
    if kind == "store":
        for id_ in ids:
            results.store_result(id_, {"number": 1, "text": "text"})
    elif kind == "fetch":
        for id_ in ids:
            results.get_result(id_)
    elif kind == "store_many":
        results.store_many(dict.fromkeys(ids, 1))
    else:
        results.get_many(ids)


async def aio_operate(results: coatcheck.aio.Results, kind: str, ids: list[str]) -> None:
    """
    As `operate`.
    """
    if kind == "store":
        for id_ in ids:
            await results.store_result(id_, {"number": 1, "text": "text"})
    elif kind == "fetch":
        for id_ in ids:
            await results.get_result(id_)
    elif kind == "store_many":
        await results.store_many(dict.fromkeys(ids, 1))
    else:
        await results.get_many(ids)


async def measure(
    side: str, ways: list[Any], fill: Any, act: Callable[..., Awaitable[None]]
) -> None:
    """
    Print a row for each kind of operation: past SQLAlchemy, and through it.
    """
    for kind, size in SIZES.items():
        times: list[list[float]] = [[], []]
        for turn in range(TURNS):
            for way in (turn % 2, 1 - turn % 2):
                ids = [f"{side}-{kind}-{turn}-{way}-{number}" for number in range(size)]
                if kind in ("fetch", "get_many"):
                    fill.store_many(dict.fromkeys(ids, 1))
                began = time.perf_counter()
                await act(ways[way], kind, ids)
                times[way].append(time.perf_counter() - began)
        direct, through = times
        ratio = statistics.median(t / d for d, t in zip(direct, through, strict=True))
        print(
            f"{side:5} {kind:10}  direct {min(direct) * 1000:7.1f} ms  "
            f"through SQLAlchemy {min(through) * 1000:7.1f} ms  ratio {ratio:.2f}",
            flush=True,
        )


async def main() -> None:
    """
    Measure both sides.
    """

    async def act(results: coatcheck.Results, kind: str, ids: list[str]) -> None:
        operate(results, kind, ids)

    with PostgreSQLServer() as server:
        with coatcheck.by_url(server.url) as direct, coatcheck.by_url(server.url) as through:
            through.backend._link.quick = False
            await measure("sync", [direct, through], direct, act)
            async with (
                coatcheck.aio.by_url(server.url) as aio_direct,
                coatcheck.aio.by_url(server.url) as aio_through,
            ):
                aio_through.backend._links.get().quick = False
                await measure("aio", [aio_direct, aio_through], direct, aio_operate)


if __name__ == "__main__":
    asyncio.run(main())
