"""
What Celery's settings for its database backend mean here.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.pool import NullPool

import coatcheck
import coatcheck.aio
from coatcheck_sql.bounded_sqlite import BoundedConnection
from coatcheck_sql.engines import options_of


def settings_of(url: str | None = "db+sqlite:////data/x.db", **settings):
    config = {"result_backend": url, **settings}
    return coatcheck.from_celery_config(config).backend._settings


@pytest.mark.parametrize(
    ("url", "given", "expected"),
    [
        ("db+sqlite:////data/x.db", {}, "sqlite:////data/x.db"),
        ("db+postgresql://u@h/db", {}, "postgresql+psycopg://u@h/db"),
        ("db+mysql+pymysql://u@h/db", {}, "mysql+pymysql://u@h/db"),
        ("database", {"database_url": "sqlite:////data/x.db"}, "sqlite:////data/x.db"),
        ("database", {"CELERY_RESULT_DBURI": "sqlite:////data/x.db"}, "sqlite:////data/x.db"),
        (
            "celery.backends.database.DatabaseBackend",
            {"database_url": "mysql://h/db"},
            "mysql+pymysql://h/db",
        ),
        ("db+sqlite:////data/x.db", {"database_url": "mysql://h/db"}, "sqlite:////data/x.db"),
    ],
)
def test_places(url, given, expected):
    """The database is in the URL, or in a setting of its own."""
    assert expected == settings_of(url, **given).url.render_as_string()


def test_tables():
    """The tables have the names and schemas that Celery gives them; ours where it gives none."""
    found = settings_of(
        database_table_names={"task": "tasks", "group": "groups"},
        database_table_schemas={"task": "one"},
    )
    plain = settings_of(database_table_names=None)

    assert ("tasks", "groups", "one", None) == (
        found.tasks, found.groups, found.task_schema, found.group_schema
    )  # fmt: skip
    assert ("celery_taskmeta", "celery_tasksetmeta") == (plain.tasks, plain.groups)


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        ({}, "UTC"),
        ({"timezone": "Europe/Berlin"}, "Europe/Berlin"),
        ({"timezone": ZoneInfo("Asia/Tokyo"), "enable_utc": True}, "Asia/Tokyo"),
        ({"timezone": "Europe/Berlin", "enable_utc": False}, "Europe/Berlin"),
        ({"enable_utc": True}, "UTC"),
    ],
)
def test_time_zone(given, zone):
    """Dates are of the zone that the application is set to, also where it works in UTC."""
    assert zone == settings_of(**given).timezone.key


def test_without_utc(monkeypatch):
    """An application that neither works in UTC nor names a zone means this machine's."""
    monkeypatch.setenv("TZ", "America/Lima")
    assert "America/Lima" == settings_of(enable_utc=False).timezone.key
    monkeypatch.delenv("TZ")
    summer = datetime(2026, 7, 1, 12).astimezone()
    theirs = datetime(2026, 7, 1, 12, tzinfo=settings_of(enable_utc=False).timezone)

    assert summer == theirs


def test_engine_options():
    """Options of the engine are taken, but for those that would break what operations rely on."""
    found = settings_of(
        database_engine_options={
            "pool_pre_ping": True, "pool_recycle": 3600, "pool_size": 3, "max_overflow": 5,
            "poolclass": NullPool, "isolation_level": "SERIALIZABLE", "echo": False,
        }
    )  # fmt: skip

    assert {"pool_recycle": 3600, "echo": False} == found.engine_options
    assert 3 == found.max_connections


def test_arguments_of_connections(sqlite):
    """Arguments for connections are added to ours, and do not take their place."""
    options = {"connect_args": {"cached_statements": 7}}
    config = {"result_backend": sqlite.url, "database_engine_options": options}
    with coatcheck.from_celery_config(config) as results:
        arguments = options_of(results.backend._settings, results.backend._link.limits)[
            "connect_args"
        ]
        assert results.store_result("t", 1)

    assert BoundedConnection is arguments.pop("factory")
    assert {"cached_statements": 7, "timeout": 2.0, "check_same_thread": False} == arguments


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"result_backend": "database"}, "database_url is not set"),
        ({"database_engine_options": "echo"}, "has to be a dict"),
        ({"timezone": "Nowhere/City"}, "Europe/Berlin"),
        ({"database_table_names": {"task": "a b"}}, "letters, digits"),
        ({"database_table_names": {"task": "celery_tasksetmeta"}}, "two tables"),
        ({"result_backend": "db+sqlite://"}, "names no file"),
        ({"result_backend": "db+oracle://h/db"}, "oracle"),
    ],
)
def test_settings_that_cannot_be(given, message):
    """What cannot be followed is refused, with the reason."""
    with pytest.raises(coatcheck.CoatcheckError, match=message):
        coatcheck.from_celery_config({"result_backend": "db+sqlite:////data/x.db", **given})


def test_an_option_that_is_ours():
    """An option that would break what operations rely on is refused where it is given to us."""
    options = {"isolation_level": "SERIALIZABLE"}
    with pytest.raises(coatcheck.ConfigurationError, match="leave out isolation_level"):
        coatcheck.by_url("db+sqlite:////data/x.db", engine_options=options)


async def test_under_asyncio():
    """The side for asyncio reads the same."""
    config = {"result_backend": "db+postgresql://h/db", "database_table_names": {"task": "tasks"}}
    results = coatcheck.aio.from_celery_config(config)

    assert "tasks" == results.backend._settings.tasks
