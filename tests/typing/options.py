"""
Options as users write them. Checked by mypy and by pyright, never run: each mistake must be found by both.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import timedelta
from typing import Any, Unpack, assert_type

import coatcheck
from coatcheck import aio
from coatcheck_memcached import MemcachedOptions
from coatcheck_mongo import MongoOptions
from coatcheck_redis import RedisOptions
from coatcheck_rpc import RPCOptions
from coatcheck_sql import SQLOptions


def right(backend: coatcheck.Backend[Any]) -> None:
    """
    Options of all stores, of one whose package is installed, and of one that nobody here knows.
    """
    hour: coatcheck.Options = {"expires": timedelta(hours=1), "signing_keys": "env:KEYS"}
    assert_type(coatcheck.by_url("memory://", **hour), coatcheck.Results)
    assert_type(aio.by_url("memory://", compress_over=10, strict=True), aio.Results)
    assert_type(coatcheck.by_name("audit", config={}, expires=None), coatcheck.Results)
    assert_type(aio.by_name(accept=["json"], protect="SUCCESS"), aio.Results)
    assert_type(aio.from_celery_config({}, read_only=True), aio.Results)
    coatcheck.Results(backend, name="mine", serializer="msgpack", trusted_exceptions=[KeyError])
    coatcheck.by_url("redis://h", expires=60, **RedisOptions(db=1, max_connections=5))
    aio.by_url("mongodb://h", **MongoOptions(push=False, taskmeta_collection="t"))
    aio.by_name("cache", **MemcachedOptions(max_item_size=1_000), safety_look=1.5)
    coatcheck.by_url("postgresql://h", **SQLOptions(task_table="t"))
    coatcheck.by_url("rpc://h", **RPCOptions(reply_to="q"))
    coatcheck.by_url("dynamo://h", region="eu-west-1", expires=coatcheck.DEFAULT)


def passed_on(url: str, **options: Unpack[coatcheck.Options]) -> coatcheck.Results:
    """
    A function of an application that takes the same options.
    """
    return coatcheck.by_url(url, **options)


def passed_fields(results: coatcheck.Results, **fields: Unpack[coatcheck.Fields]) -> bool:
    """
    A function of an application that takes the fields of a record.
    """
    return results.mark_as_done("t", 1, expires=coatcheck.DEFAULT, **fields)


def wrong(backend: coatcheck.Backend[Any]) -> None:
    """
    Mistakes.
    """
    coatcheck.by_url("memory://", expires="soon")  # type: ignore[arg-type]
    aio.by_url("memory://", strict=1)  # type: ignore[arg-type]
    aio.by_name(compress_over=None)  # type: ignore[arg-type]
    coatcheck.from_celery_config({}, accept=5)  # type: ignore[arg-type]
    coatcheck.Results(backend, exipres=60)  # type: ignore[call-arg]
    aio.Results(backend, expires="60")  # type: ignore[arg-type]
    RedisOptions(max_conections=5)  # type: ignore[typeddict-unknown-key]
    passed_on("memory://", key_prefix=5)  # type: ignore[arg-type]
