"""
What URLs and settings mean; nothing is connected.
"""

from __future__ import annotations

import pytest

import coatcheck
from coatcheck._settings.url import URL
from coatcheck_mongo.settings import Settings


def settings(url, **options):
    """Return the settings of a URL."""
    return Settings(URL(url), options)


@pytest.mark.parametrize(
    ("url", "uri", "database"),
    [
        ("mongodb://", "mongodb://localhost/", "celery"),
        ("mongodb://h", "mongodb://h/", "celery"),
        ("mongodb://h:27018/mydb", "mongodb://h:27018/", "mydb"),
        ("mongodb://h/mydb.collection", "mongodb://h/", "mydb"),
        ("mongodb://u:p%40@h1,h2:5/mydb?w=1", "mongodb://u:p%40@h1,h2:5/", "mydb"),
        ("mongodb://%2Ftmp%2Fmongodb.sock/db", "mongodb://%2Ftmp%2Fmongodb.sock/", "db"),
        (
            "mongodb+srv://u:p@cluster.example.org/db",
            "mongodb+srv://u:p@cluster.example.org/",
            "db",
        ),
        ("mongodb://h/db?database=other", "mongodb://h/", "other"),
    ],
)
def test_places(url, uri, database):
    """The driver gets the hosts and the user; the database is ours, and not that of the user."""
    found = settings(url)

    assert (uri, database) == (found.uri, found.database)
    assert ("celery_taskmeta", "celery_groupmeta") == (found.tasks, found.groups)


def test_defaults():
    """A majority acknowledges a record, and reads see only records that a majority has."""
    driver = settings("mongodb://h").driver

    assert ("majority", "majority") == (driver["w"], driver["readconcernlevel"])
    assert ("1", "local") == tuple(
        settings("mongodb://h?w=1").driver[name] for name in ("w", "readconcernlevel")
    )
    assert [True, False, False] == [
        settings(f"mongodb://h?w={w}").durable for w in ("majority", "1", "2")
    ]


def test_driver_options():
    """Options of the driver reach it, from the URL or by name, in any case."""
    driver = settings("mongodb://h?readPreference=secondary&TLS=true", maxPoolSize=3).driver

    assert {
        "readpreference": "secondary",
        "tls": "true",
        "maxpoolsize": 3,
    }.items() <= driver.items()


def test_the_drivers_timeout_bounds_operations():
    """`timeoutMS` is the same as `operation_timeout`; the shorter one counts."""
    assert 0.25 == settings("mongodb://h?timeoutMS=250").operation_timeout
    assert 5 == settings("mongodb://h?timeoutMS=60000").operation_timeout


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mongodb://h?maxPoolSize=hunter2", "maxPoolSize"),
        ("mongodb://h?no_such=hunter2", "no_such"),
        ("mongodb://h?taskmeta_collection=$x", "taskmeta_collection"),
        ("mongodb://h?push_limit=-1", "push_limit"),
        ("mongodb://h/a%20b", "database"),
        ("mongodb://h/.collection", "database"),
        ("mongodb://h/$db", "database"),
        ("mongodb://h?database=db.collection", "database"),
        ("mongodb://h?groupmeta_collection=a..b", "groupmeta_collection"),
        ("mongodb://h?groupmeta_collection=.a", "groupmeta_collection"),
        ("mongodb://h?w=0", "w=0"),
        ("mongodb://h?document_class=dict", "document_class"),
        ("mongodb://user:hunter2@h:port/db", "hosts"),
        ("mongodb://h?key_prefix=x", "key_prefix"),
    ],
)
def test_what_cannot_be(url, named):
    """An impossible option is refused at once, by name, without its value."""
    with pytest.raises(coatcheck.ConfigurationError, match=named) as caught:
        coatcheck.by_url(url)
    assert "hunter2" not in str(caught.value)


def test_secrets_of_many_hosts():
    """Neither user nor password nor the value of an option shows."""
    url = "mongodb://user:hunter2@h1:1,h2:2,h3:3/db?tlsCertificateKeyFilePassword=hunter2"
    with coatcheck.by_url(url) as results:
        assert "hunter2" not in repr(results) + repr(results.backend)
        assert "h1:1,h2:2,h3:3/db" in repr(results)
