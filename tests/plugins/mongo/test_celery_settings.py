"""
What Celery's settings for its MongoDB backend mean here.
"""

from __future__ import annotations

import pytest

import coatcheck
import coatcheck.aio
from coatcheck_mongo.settings import Settings


def found(url: str | None, **settings) -> Settings:
    config = {"result_backend": url, "mongodb_backend_settings": settings}
    return coatcheck.from_celery_config(config).backend._settings


@pytest.mark.parametrize(
    ("url", "settings", "uri", "database"),
    [
        ("mongodb", {}, "mongodb://localhost/", "celery"),
        ("mongodb", {"host": "hh"}, "mongodb://hh:27017/", "celery"),
        ("mongodb", {"host": "hh:5"}, "mongodb://hh:5/", "celery"),
        ("mongodb", {"port": 5}, "mongodb://localhost:5/", "celery"),
        ("mongodb", {"host": ["a:1", "b:2"]}, "mongodb://a:1,b:2/", "celery"),
        ("mongodb", {"mongo_host": ["a:1", "b:2"]}, "mongodb://a:1,b:2/", "celery"),
        ("mongodb", {"mongo_host": "a:1"}, "mongodb://a:1/", "celery"),
        ("mongodb://h/db", {"host": "hh", "port": 5}, "mongodb://hh:5/", "db"),
        ("mongodb://h/db", {"database": "other"}, "mongodb://h/", "other"),
        ("mongodb://u:p%40@h/db", {}, "mongodb://u:p%40@h/", "db"),
        ("mongodb://u:p@h/db", {"password": "p@ss"}, "mongodb://u:p%40ss@h/", "db"),
        ("mongodb://h", {"user": "u/1", "password": "p"}, "mongodb://u%2F1:p@h/", "celery"),
        ("mongodb://u@h", {}, "mongodb://u@h/", "celery"),
        ("celery.backends.mongodb.MongoBackend", {}, "mongodb://localhost/", "celery"),
    ],
)
def test_places(url, settings, uri, database):
    """Unlike for other stores, the settings go over the URL."""
    settings = found(url, **settings)

    assert (uri, database) == (settings.uri, settings.database)


def test_collections():
    """The collections have the names that Celery gives them."""
    settings = found("mongodb://h", taskmeta_collection="tm", groupmeta_collection="gm")

    assert ("tm", "gm") == (settings.tasks, settings.groups)


def test_options_of_the_driver():
    """The driver's options are options here, whichever way they are given, under old names as well."""
    driver = found("mongodb://h/db?tls=true", options={"appname": "x"}, max_pool_size=3).driver

    assert ("x", 3, "true") == (driver["appname"], driver["maxpoolsize"], driver["tls"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("x", "mongodb_backend_settings must be a dict"),
        ({"options": "x"}, "must be a dict"),
        ({"host": "mongodb://h/"}, "make it the setting result_backend"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    """Settings that coatcheck cannot follow are refused, with the reason."""
    with pytest.raises(coatcheck.ConfigurationError, match=message):
        coatcheck.from_celery_config(
            {"result_backend": "mongodb://h", "mongodb_backend_settings": settings}
        )


async def test_under_asyncio():
    """The side for asyncio reads the same."""
    config = {"result_backend": "mongodb", "CELERY_MONGODB_BACKEND_SETTINGS": {"host": "hh"}}
    results = coatcheck.aio.from_celery_config(config)

    assert "mongodb://hh:27017/" == results.backend._settings.uri
