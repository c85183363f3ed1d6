"""
URLs as providers hand them out, and what a driver does not have.
"""

from __future__ import annotations

import importlib.util
import socket

import pytest
from sqlalchemy import make_url

import coatcheck
import coatcheck.aio
from coatcheck_sql.settings import Settings

SECRET = "hunter2-word"


def settings(url: str) -> Settings:
    """Return what *url* says."""
    return coatcheck.by_url(url).backend._settings  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("side", [coatcheck, coatcheck.aio])
@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:{}@ec2-1.compute.amazonaws.com:5432/d1",
        "postgres+psycopg://u:{}@h/d",
        "db+postgres://u:{}@h/d",
        "database+postgres://u:{}@h/d?sslmode=require",
        "postgresql://u:{}@ep-1.neon.tech/d?sslmode=require&options=endpoint%3Dep-1&channel_binding=require",
        "postgresql://postgres.ref:{}@pooler.supabase.com:6543/postgres?pgbouncer=true",
        "postgresql://u:{}@h1:5432,h2:5433/d?target_session_attrs=read-write",
        "postgresql://u:{}@h/d?application_name=x&connect_timeout=10&keepalives_idle=30",
        "mysql://u:{}@h:25060/d?charset=utf8mb4&ssl_ca=/ca.pem",
        "mysql://u:{}@h/d?ssl_ca=/ca.pem&ssl_check_hostname=true&local_infile=0",
        "db+sqlite:///x.db?timeout=3&cached_statements=20",
    ],
)
def test_urls_of_providers(side, url):
    """They are read, by both sides, and their secrets are not shown."""
    results = side.by_url(url.replace("{}", SECRET))

    assert SECRET not in repr(results)


@pytest.mark.parametrize("side", [coatcheck, coatcheck.aio])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:{}@h/d?ssl-mode=REQUIRED", "no option 'ssl-mode'.* write ssl_ca="),
        ("mysql://u:{}@h/d?sslmode=require", "no option 'sslmode'.* write ssl_ca="),
        ("mariadb+pymysql://u:{}@h/d?ssl=true", "no option 'ssl'.* write ssl_ca="),
        ("db+mysql://u:{}@h/d?sslaccept=strict", "no option 'sslaccept'"),
        ("mysql://u:{}@h/d?conect_timeout=1", "'conect_timeout'.*did you mean 'connect_timeout'"),
        ("mysql://u:{}@h/d?connect_timeout={}", "value of .*: connect_timeout"),
        ("postgresql://u:{}@h/d?sslmod={}", "no option 'sslmod'.*did you mean 'sslmode'"),
        ("postgresql://u:{}@h/d?schema=public", "no option 'schema'"),
        ("postgresql://u:{}@h/d?pgbouncer=true&connection_limit={}", "option 'connection_limit'"),
        ("postgresql://u:{}@h/d?pgbouncer={}", "'pgbouncer': use 1 or 0"),
        ("postgres://u:{}@h/d?conn_max_age=600", "no option 'conn_max_age'"),
        ("postgresql+asyncpg://u:{}@h/d", r"event loops only; write postgresql\+psycopg"),
        ("db+sqlite:///x.db?nosuch={}", "no option 'nosuch'"),
        ("db+sqlite:///x.db?timeout={}", "value of .*: timeout"),
    ],
)
def test_options_that_the_driver_lacks(side, url, said):
    """They are refused by name when the URL is read, not by a TypeError of the first store."""
    with pytest.raises(coatcheck.ConfigurationError, match=said) as caught:
        side.by_url(url.replace("{}", SECRET))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_pooler_is_named_as_others_do():
    """`pgbouncer=true` keeps statements from being prepared; our own option goes first."""
    assert settings("postgresql://h/d").prepare
    assert not settings("postgresql://h/d?pgbouncer=true").prepare
    assert settings("postgresql://h/d?pgbouncer=true&prepare=1").prepare
    assert settings("postgresql://h/d?pgbouncer=false").prepare
    assert "pgbouncer" not in settings("postgresql://h/d?pgbouncer=true").url.query


def test_several_hosts():
    """They are those of SQLAlchemy's own way to write them."""
    ours = settings("postgresql://u:p@h1:5432,h2,h3:5433/d?connect_timeout=3").url
    theirs = make_url(
        "postgresql+psycopg://u:p@/d?connect_timeout=3&host=h1:5432&host=h2:5432&host=h3:5433"
    )

    made = [url.get_dialect()().create_connect_args(url) for url in (theirs, ours)]
    assert made[0] == made[1]
    assert "h1:5432,h2:5432,h3:5433/d" == settings("postgresql://u:p@h1,h2,h3:5433/d").label
    six = settings("postgresql://u:p@[::1]:1,[::2]/d").url
    _, arguments = six.get_dialect()().create_connect_args(six)
    assert ("::1,::2", "1,5432") == (arguments["host"], str(arguments["port"]))


@pytest.mark.parametrize("hosts", ["h1:5432,h2:x", "h1,[::1", "h1:1:2,h2", f"h1,{SECRET}:{SECRET}"])
def test_several_hosts_that_cannot_be_read(hosts):
    """They are not shown, since one may be part of a password."""
    with pytest.raises(coatcheck.ConfigurationError, match="is not a URL of SQLAlchemy"):
        coatcheck.by_url(f"postgresql://{hosts}/d")


@pytest.mark.parametrize("side", [coatcheck, coatcheck.aio])
async def test_several_hosts_of_which_one_is_away(side, postgresql):
    """The second host serves what the first does not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{taken.getsockname()[1]}"
        there = f"127.0.0.1:{postgresql.port}"
        url = postgresql.url.replace(there, f"{away},{there}")
        assert away in url
        results = side.by_url(url)
        stored = results.store_result("t", 1)
        assert (stored if side is coatcheck else await stored) is True
        waited = results.AsyncResult("t").get(timeout=20)
        assert 1 == (waited if side is coatcheck else await waited)
        closed = results.close()
        assert closed is None or await closed is None


@pytest.mark.parametrize(
    ("url", "missing", "said"),
    [
        ("postgresql+psycopg2://u@h/d", "psycopg2", r"install it, or write postgresql\+psycopg://"),
        ("mysql+mysqldb://u@h/d", "MySQLdb", r"install it, or write mysql\+pymysql://"),
        ("mariadb+mariadbconnector://u@h/d", "mariadb", r"write mariadb\+pymysql://"),
    ],
)
def test_a_driver_that_is_not_installed(url, missing, said):
    """The extra that is suggested is said to bring another driver than the one that was named."""
    assert importlib.util.find_spec(missing) is None
    with pytest.raises(coatcheck.PluginError, match=said):
        coatcheck.by_url(url)
