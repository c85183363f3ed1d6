"""
PgBouncer in front of PostgreSQL, with a connection for each transaction.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest
from support.sql import PgBouncer

import coatcheck
import coatcheck.aio
from coatcheck.testing.threads import Started, until

LISTENING = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"


@pytest.fixture
def pooler(postgresql):
    """A PgBouncer before the empty PostgreSQL, which has fewer connections than we take."""
    with PgBouncer(postgresql) as pooler:
        pooler.behind = postgresql
        yield pooler


def test_waits_are_woken_by_a_way_round(pooler):
    """
    Operations go through the pooler, whose connections others use in between; listening goes round.
    """
    url, round_ = f"{pooler.url}?prepare=0", pooler.behind.url
    with coatcheck.by_url(url, listen_url=round_, safety_look=600.0) as results:
        assert results.store_result("makes the tables", 1)
        waiting = Started(results.wait_for, "t29", 60)
        assert until(lambda: pooler.behind.execute(LISTENING))
        storing = [Started(results.store_result, f"t{n}", n) for n in range(30)]

        assert [True] * 30 == [started.answer() for started in storing]
        assert 29 == waiting.answer().result
        assert {f"t{n}": n for n in range(30)} == {
            id_: meta.result for id_, meta in results.get_many([f"t{n}" for n in range(30)]).items()
        }
        assert results.polling is None


def test_without_a_way_round_waits_look(pooler):
    """
    With push=0 nothing is heard, and waits look.
    """
    with coatcheck.by_url(f"{pooler.url}?prepare=0&push=0") as results:
        waiting = Started(results.wait_for, "t", 60)
        results.store_result("t", 1)

        assert 1 == waiting.answer().result
    assert not pooler.behind.execute(LISTENING)


async def test_under_asyncio(pooler):
    """
    The side for asyncio goes the same ways.
    """
    url = f"{pooler.url}?prepare=0&listen_url={quote(pooler.behind.url, safe='')}"
    async with coatcheck.aio.by_url(url, safety_look=600.0) as results:
        waiting = asyncio.create_task(results.wait_for("t19", timeout=60))
        won = await asyncio.gather(*(results.store_result(f"t{n}", n) for n in range(20)))

        assert [True] * 20 == won
        assert 19 == (await waiting).result
