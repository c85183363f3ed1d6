"""
Several servers: the server of a key, and the keys of a server that is away.
"""

from __future__ import annotations

import itertools
import time

import pytest

import coatcheck
import coatcheck.aio

PREFIX = "celery-task-meta-"
IDS = [f"t{n}" for n in range(60)]


@pytest.fixture
def shared(own_servers):
    """Three servers, and which ids each of them has."""
    of = {id_: own_servers.of(PREFIX + id_) for id_ in IDS}
    found = [[id_ for id_ in IDS if of[id_] is server] for server in own_servers.servers]
    assert all(found)
    own_servers.ids = found
    return own_servers


def url_of(servers, order: slice = slice(None)) -> str:
    return "memcached://" + ";".join(server.place for server in servers.servers[order])


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_keys_are_where_celery_looks(shared, order):
    """Each record is at the server where Celery's client looks for it, in any order of the servers."""
    with coatcheck.by_url(url_of(shared, order)) as results:
        results.store_many({id_: id_ for id_ in IDS[:30]})
        for id_ in IDS[30:]:
            results.store_result(id_, id_)
        results.ResultSet(IDS).save("group")
        with shared.client as celerys:
            assert all(celerys.get(PREFIX + id_) for id_ in IDS)
            celerys.set(PREFIX + "theirs", b'{"status": "SUCCESS", "result": 1}')
            assert celerys.get("celery-taskset-meta-group")
        assert 1 == results.get_result("theirs")

    for server, ids in zip(shared.servers, shared.ids, strict=True):
        with server.client as client:
            assert set(client.get_many([PREFIX + id_ for id_ in IDS])) == {PREFIX + i for i in ids}


def test_keys_of_a_dead_server_stay_there(shared):
    """They raise, and are placed nowhere else; the others' go on. When it is back, so are they."""
    dead, *living = shared.servers
    lost, *rest = shared.ids
    others = list(itertools.chain(*rest))
    with coatcheck.by_url(shared.url, operation_timeout=1.5) as results:
        results.store_many({id_: 1 for id_ in IDS if id_ != lost[0]})
        dead.kill()
        for act in (results.store_result, results.get_result, results.forget):
            with pytest.raises(coatcheck.BackendUnavailableError, match=str(dead.port)):
                act(lost[0])
        assert not results.store_result(others[0], 2)
        assert {1} == {meta.result for meta in results.get_many(others).values()}
        for server in living:
            with server.client as client:
                assert {} == client.get_many([PREFIX + id_ for id_ in lost])

        dead.start()
        assert not results.get_task_meta(lost[0]).known
        assert results.store_result(lost[0], 3)
        assert 3 == results.wait_for(lost[0], 5).result


def test_read_of_many_while_one_is_dead(shared):
    """The error of a read of many has the records of the other servers, and the keys that were not read."""
    with coatcheck.by_url(shared.url, operation_timeout=1.5) as results:
        results.store_many(dict.fromkeys(IDS, 1))
        shared.servers[1].kill()
        with pytest.raises(coatcheck.PartlyUnavailableError) as caught:
            results.get_many(IDS)

        assert set(shared.ids[1]) == caught.value.unread
        assert {*shared.ids[0], *shared.ids[2]} == set(caught.value.found)
        assert isinstance(caught.value.__cause__, OSError)
        with pytest.raises(coatcheck.BackendUnavailableError) as caught:
            results.get_many(shared.ids[1])
        assert not isinstance(caught.value, coatcheck.PartlyUnavailableError)


def test_write_of_many_while_one_is_dead(shared):
    """A batch raises, and is stored where it can be."""
    with coatcheck.by_url(shared.url, operation_timeout=1.5) as results:
        shared.servers[1].kill()
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.store_many(dict.fromkeys(IDS, 1))

        others = [*shared.ids[0], *shared.ids[2]]
        assert {1} == {meta.result for meta in results.get_many(others).values()}
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.backend.delete_many(IDS)
        assert not any(meta.known for meta in results.get_many(others).values())


def test_waits_while_one_is_dead(shared):
    """Waits for the others' keys get theirs; those for its own go on until it is back."""
    dead = shared.servers[0]
    with coatcheck.by_url(shared.url) as results, coatcheck.by_url(shared.url) as writer:
        dead.kill()
        waited = results.as_completed(IDS, timeout=30)
        others = [*shared.ids[1], *shared.ids[2]]
        writer.store_many(dict.fromkeys(others, 1))
        assert set(others) == {next(waited).task_id for _ in others}
        dead.start()
        writer.store_many(dict.fromkeys(shared.ids[0], 2))

        assert set(shared.ids[0]) == {meta.task_id for meta in waited}


async def test_waits_while_one_is_dead_aio(shared):
    """The same under asyncio."""
    shared.servers[0].kill()
    others = [*shared.ids[1], *shared.ids[2]]
    async with coatcheck.aio.by_url(shared.url, operation_timeout=1.5) as results:
        waited = results.as_completed(IDS, timeout=30)
        await results.store_many(dict.fromkeys(others, 1))
        assert set(others) == {(await anext(waited)).task_id for _ in others}
        shared.servers[0].start()
        await results.store_many(dict.fromkeys(shared.ids[0], 2))

        assert set(shared.ids[0]) == {meta.task_id async for meta in waited}


def test_one_says_nothing(shared):
    """A server that stands still holds up neither the others nor an operation beyond its time."""
    with coatcheck.by_url(shared.url, operation_timeout=1.5) as results:
        results.store_many(dict.fromkeys(IDS, 1))
        with shared.servers[0].stopped():
            start = time.monotonic()
            with pytest.raises(coatcheck.PartlyUnavailableError) as caught:
                results.get_many(IDS)
            # Bounded by the operation timeout; the rest is patience with a busy machine.
            assert time.monotonic() - start < 1.5 + 30
            assert set(shared.ids[0]) == caught.value.unread
            assert not results.store_result(shared.ids[1][0], 2)

        assert {1} == {meta.result for meta in results.get_many(IDS).values()}


@pytest.mark.parametrize("living", [0, 1, 2])
def test_all_but_one_say_nothing(shared, living):
    """Of servers that stand still each takes its share of the time, and leaves one for the others."""
    silent = [n for n in range(3) if n != living]
    with coatcheck.by_url(shared.url, operation_timeout=1.5) as results:
        results.store_many(dict.fromkeys(IDS, 1))
        with shared.servers[silent[0]].stopped(), shared.servers[silent[1]].stopped():
            start = time.monotonic()
            with pytest.raises(coatcheck.PartlyUnavailableError) as caught:
                results.get_many(IDS)
            assert time.monotonic() - start < 1.5 + 30
            assert set(shared.ids[living]) == set(caught.value.found)


def test_close_gives_up_all(shared):
    """A closed client holds no connection, and opens new ones when it is used again."""

    def opened() -> int:
        with shared.client as client:
            return sum(int(c.stats()[b"curr_connections"]) for c in client.clients.values())

    before = opened()
    with coatcheck.by_url(shared.url) as results:
        results.store_many(dict.fromkeys(IDS, 1))
        assert opened() > before
        results.close()
        deadline = time.monotonic() + 30
        while opened() > before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert results.exists(IDS[0])
