"""
After a switch: what Celery's own backend left in the store is cleaned up by `result_expires`.
"""

from __future__ import annotations

import os
import time

import pytest
from celery import states
from celery.result import AsyncResult, GroupResult
from support.celery_tasks import application
from support.sql import MariaDBServer, PostgreSQLServer

STORES = {
    "files": "file://{directory}",
    "sqlite": "db+sqlite:///{directory}/celery.db",
    "postgresql": "db+postgresql+psycopg://{postgresql}",
    "mariadb": "db+mysql+pymysql://{mariadb}",
    "mongodb": "{mongodb}",
}


@pytest.fixture(scope="module")
def postgresql():
    with PostgreSQLServer() as server:
        yield server.url.partition("://")[2]


@pytest.fixture(scope="module")
def mariadb():
    with MariaDBServer() as server:
        yield server.url.partition("://")[2]


@pytest.fixture(params=list(STORES))
def url(request, tmp_path):
    template = STORES[request.param]
    names = [name for name in ("postgresql", "mariadb", "mongodb") if f"{{{name}}}" in template]
    servers = {name: request.getfixturevalue(name) for name in names}
    return template.format(directory=tmp_path, **servers)


@pytest.fixture
def closing():
    """Has the connections of a backend closed in the end."""
    backends = []

    def close_later(backend):
        backends.append(backend)
        return backend

    yield close_later
    for backend in backends:
        if hasattr(backend, "results"):
            backend.results.close()
        elif hasattr(backend, "_get_connection"):
            backend._get_connection().close()
        elif hasattr(backend, "ResultSession"):
            with backend.ResultSession() as session:
                engine = session.get_bind()
            engine.dispose()


def store(backend, name):
    """Store a result and a group."""
    backend.store_result(f"{name}-task", 1, states.SUCCESS)
    handle = AsyncResult(f"{name}-task", app=backend.app)
    GroupResult(f"{name}-group", [handle], app=backend.app).save(backend)


def kept(backend, name):
    """Return which of them are there."""
    group = backend.results.backend.get_group(f"{name}-group")
    return [backend.results.exists(f"{name}-task"), group is not None]


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Tokyo"])
def test_what_celery_left(url, timezone, closing):
    """What is older than `result_expires` goes, whatever the time zone; what is not, and ours, stays."""

    def backend(url, expires):
        return closing(
            application("memory://", url, result_expires=expires, timezone=timezone).backend
        )

    theirs, ours = backend(url, 3600), backend(f"coatcheck+{url}", 3600)
    name = timezone[:3].lower()
    ours.store_result("ours", 1, states.SUCCESS)
    store(theirs, name)
    ours.cleanup()
    assert not ours.supports_autoexpire
    assert [True, True] == kept(ours, name)
    time.sleep(1.1)  # a column of MariaDB's has whole seconds
    if timezone == "UTC":
        backend(f"coatcheck+{url}", 0.01).cleanup()
    else:  # dates without a zone may be in UTC, too
        ours.results.backend.purge_others(-86_400)

    assert [False, False] == kept(ours, name)
    assert ours.results.exists("ours")


def test_what_is_kept(tmp_path):
    """Without a lifetime nothing is deleted, and nothing that is no record of Celery's."""
    url = f"file://{tmp_path}"
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine")
    os.utime(foreign, (0, 0))
    store(application("memory://", url, result_expires=None).backend, "t")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    for expires in (None, 0):
        application("memory://", f"coatcheck+{url}", result_expires=expires).backend.cleanup()
    assert 3 == len([*tmp_path.iterdir()])
    application("memory://", f"coatcheck+{url}", result_expires=5).backend.cleanup()

    assert [foreign] == [*tmp_path.iterdir()]
