"""
The URLs and settings that Celery 5.7 was given, and what it made of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from pymongo import uri_parser
from sqlalchemy import make_url
from support.celery import by_id, rows

import coatcheck
import coatcheck.aio

#: Where we make something else than Celery does, and why.
DIFFERENT = {
    "redis://h?unknown_option=1": "no option: at once, not at the first use",
    "sentinel://a;b;c": "hosts that Celery takes for localhost, and a master that nobody named",
    "cache+memcached://h1/?timeout=3": "no option: not a part of the host",
    "db+sqlite://": "no file: a database in memory is no other process's",
    "db+postgresql+psycopg2://u:p@h/d?sslmode=require": "its driver is not among those of the tests",
}
#: What Celery refuses and we do not: names of ours, and what is checked at the first use.
OURS = {
    "memcached://h1/": "a scheme of ours", "sqlite:///results.db": "a scheme of ours",
    "file:///srv/results%20with": "the directory is made by the first store",
}  # fmt: skip
PLAIN = (str, bytes, int, float, list, dict, tuple)
#: The stores that there is no backend for: that of Celery 4, by its scheme.
MISSING = ("amqp",)


def made(row: dict[str, Any], door: Any = coatcheck) -> Any:
    """Return the results for a row."""
    return door.from_celery_config({"result_backend": row["url"], **row["conf"]})


def refused(row: dict[str, Any]) -> bool:
    """Whether there is an error to tell."""
    url = row["url"]
    missing = (url or "").startswith(MISSING)
    return url in DIFFERENT or ((missing or "raises" in row) and url not in OURS)


@by_id(row for row in rows("urls.jsonl"))
@pytest.mark.parametrize("door", [coatcheck, coatcheck.aio], ids=["sync", "aio"])
async def test_celery_urls(door, row):
    """A URL with its settings means what it means to Celery; where that crashes, the reason is told."""
    if refused(row):
        with pytest.raises(coatcheck.ConfigurationError):
            made(row, door)
        return
    results = made(row, door)
    lifted = results.backend
    backend = getattr(lifted, "backend", lifted)
    settings = getattr(backend, "_settings", None)
    if "task_keyprefix" in row:
        assert row["task_keyprefix"] == results._key_prefix
    if row["kind"] == "expires":
        assert (row.get("expires") or None) == (results.expires and int(results.expires))
    if door is coatcheck and "connparams" in row:
        redis_is_the_same(row["connparams"], settings)
    if door is coatcheck and row.get("servers", [""]) != [""]:
        assert [place(server) for server in row["servers"]] == settings.addresses
    if row["kind"] == "mongodb":
        mongo_is_the_same(row, settings)
    if row["kind"] == "rpc":
        rpc_is_the_same(row, backend._client.settings)
    if row["kind"] == "db" and "raises" not in row:
        sql_is_the_same(make_url(row["backend_url"]), settings.url)
    if door is coatcheck and "path" in row:
        assert row["path"].rstrip("/") in str(backend._files)


def mongo_is_the_same(row: dict[str, Any], settings: Any) -> None:
    """Compare servers, names and credentials."""
    parsed = uri_parser.parse_uri(settings.uri)
    hosts = row.get("mongo_host") or [f"{row['host']}:{row['port']}"]
    assert hosts == [f"{host}:{port}" for host, port in parsed["nodelist"]]
    assert (row.get("user"), row.get("password")) == (parsed["username"], parsed["password"])
    assert row["database_name"] == settings.database
    assert row["taskmeta_collection"] == settings.tasks
    assert row["groupmeta_collection"] == settings.groups
    for name in ("authSource", "tls", "appname"):
        if name in row["options"]:
            assert str(row["options"][name]).lower() == str(settings.driver[name.lower()]).lower()


def rpc_is_the_same(row: dict[str, Any], settings: Any) -> None:
    """Compare the queue, and the broker that Celery has by default."""
    assert (row.get("expires", 86_400), False) == (settings.queue_expires, settings.persistent)
    assert ([("localhost", 5672)], "/") == (settings.nodes, settings.virtual_host)
    assert ("guest", "guest") == (settings.user, settings.password)


def sql_is_the_same(theirs: Any, ours: Any) -> None:
    """Compare all but the driver, which is ours to choose."""
    for name in ("host", "port", "username", "password", "database"):
        assert getattr(theirs, name) == getattr(ours, name), name
    assert theirs.get_backend_name() == ours.get_backend_name()


def place(server: str) -> Any:
    """Return where a server of Celery's is."""
    if server.startswith("/"):
        return server
    host, _, port = server.partition(":")
    return host, int(port or 11211)


def redis_is_the_same(theirs: dict[str, Any], settings: Any) -> None:
    """Compare the parameters of connections."""
    ours = settings.connection
    for name, default in {"db": 0, "username": None, "password": None, "path": None}.items():
        assert theirs.get(name, default) == ours.get(name, default), name
    if "hosts" in theirs:
        assert [(h["host"], h["port"]) for h in theirs["hosts"]] == settings.nodes
    elif "host" in theirs:
        assert (theirs["host"], theirs["port"]) == (ours["host"], ours["port"])


@by_id(row for row in rows("urls.jsonl") if "://" in (row["url"] or "") and not row["conf"])
def test_urls_alone(row):
    """`by_url` takes the URL as it is, and makes the same of it."""
    if refused(row):
        with pytest.raises(coatcheck.ConfigurationError):
            coatcheck.by_url(row["url"])
        return
    ours, theirs = coatcheck.by_url(row["url"]), made(row)
    backends = [getattr(results.backend, "backend", results.backend) for results in (ours, theirs)]

    assert type(backends[0]) is type(backends[1])
    assert parts(backends[0]) == parts(backends[1])


def parts(backend: Any) -> dict[str, Any]:
    """Return what the backend was made with."""
    found = vars(getattr(backend, "_settings", backend))
    return {name: value for name, value in found.items() if isinstance(value, PLAIN)}


@by_id(row for row in rows("urls.jsonl") if (row["url"] or "").startswith(MISSING))
def test_stores_that_are_not_here(row):
    """A URL of a store without a backend is an error that says so, and what there is."""
    if row["url"] in OURS:
        return
    with pytest.raises(
        coatcheck.UnknownSchemeError, match=r"no backend for the scheme .* installed"
    ):
        coatcheck.by_url(row["url"])
