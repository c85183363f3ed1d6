"""
No secret shows: not in an error, a `repr`, a line of the log, a warning, or what is printed.
"""

import logging
import os
import secrets
import subprocess
import sys
import traceback

import pytest
from support.processes import free_port

import coatcheck
import coatcheck.aio
from coatcheck._settings import configfile
from coatcheck._settings.url import URL
from coatcheck.errors import CoatcheckError

#: For each scheme where secrets can stand: {s} is one, {p} the port of nobody.
URLS = {
    "redis": "redis://user{s}:{s}@127.0.0.1:{p}/0",
    "redis, a second host": "redis://:{s}@127.0.0.1:{p}/0?client_name={s}",
    "rediss": "rediss://user:{s}@127.0.0.1:{p}?ssl_cert_reqs=required",
    "redis by its socket": "redis+socket://:{s}@/nowhere/redis.sock?password={s}",
    "redis, wrong options": "redis://:{s}@127.0.0.1:{p}/0?no_such_option={s}",
    "redis, a wrong database": "redis://127.0.0.1:{p}/0?db={s}",
    "sentinel": "sentinel://:{s}@127.0.0.1:{p}/0;sentinel://:{s}@127.0.0.1:{p}/1?master_name=m",
    "valkey": "valkey://:{s}@127.0.0.1:{p}",
    "mongodb": "mongodb://user:{s}@127.0.0.1:{p},127.0.0.1:{p}/db?connectTimeoutMS=200",
    "mongodb, options": "mongodb://127.0.0.1:{p}/db?authSource={s}&no={s}",
    "memcached": "memcached://127.0.0.1:{p}?no_such_option={s}",
    "memcached, like a password": "memcached://user:{s}@127.0.0.1:{p}",
    "postgresql": "postgresql://user:{s}@127.0.0.1:{p}/app?connect_timeout=1",
    "postgresql, password in the query": "postgresql://127.0.0.1:{p}/app?password={s}",
    "db+postgresql": "db+postgresql://user:{s}@127.0.0.1:{p}/app",
    "db+sqlite": "db+sqlite:////nowhere/at/all.db?no={s}",
    "mariadb": "mariadb://user:{s}@127.0.0.1:{p}/app",
    "mysql": "mysql://user:{s}@127.0.0.1:{p}/app?passwd={s}",
    "sqlite": "sqlite:////nowhere/at/all.db?no={s}",
    "file": "file:///nowhere/at/all?no={s}",
    "memory": "memory://x?no={s}",
    "unknown": "rediz://user:{s}@127.0.0.1/0",
    "not clear": "redis://user:a/{s}@127.0.0.1/0",
    "a port": "redis://user:{s}",
    "no URL": "user:{s}@127.0.0.1",
}
SCHEME = pytest.mark.parametrize("name", URLS)
#: Of SQLAlchemy's, for an option that SQLite lacks: it names the option alone.
pytestmark = pytest.mark.filterwarnings("ignore:Query string argument")
#: Options by name, of which each is refused or used.
OPTIONS = [
    {"password": "{s}"},
    {"expires": "{s}"},
    {"signing_keys": "{s}"},
    {"signing_keys": {"a": "{s}"}},
    {"encryption_keys": {"a": "{s}-long-enough-to-be-a-key-of-someone"}},
    {"serializer": "json", "no_such_option": "{s}"},
]


@pytest.fixture
def secret():
    return f"hunter{secrets.token_hex(8)}"


def filled(value, secret):
    if isinstance(value, dict):
        return {name: filled(item, secret) for name, item in value.items()}
    return value.format(s=secret, p=free_port()) if isinstance(value, str) else value


def shown(error):
    """
    Return all that is shown of an error, its causes and notes included.
    """
    return "".join([*traceback.format_exception(error), repr(error), str(error)])


def use(results):
    """
    Return what a store that is away says to those who use it.
    """
    said = [repr(results), str(results), repr(results.backend), repr(results.AsyncResult("t"))]
    said += [repr(vars(results))]
    for call in (
        lambda: results.store_result("t", 1),
        lambda: results.get_state("t"),
        lambda: results.wait_for("t", 0.05),
        lambda: list(results.scan()),
        results.purge,
    ):
        try:
            call()
        except CoatcheckError as error:
            said.append(shown(error))
    return said


@SCHEME
def test_urls(name, secret, caplog, capfd, recwarn):
    """
    Whatever becomes of a URL with secrets in it, they are not shown.
    """
    caplog.set_level(logging.DEBUG)
    url = filled(URLS[name], secret)
    said = []
    for options in ({}, *OPTIONS):
        try:
            with coatcheck.by_url(url, operation_timeout=0.3, **filled(options, secret)) as results:
                said += use(results) if not options or "encryption_keys" in options else [results]
        except CoatcheckError as error:
            said.append(shown(error))
    try:
        said += [repr(URL(url)), str(URL(url))]
    except CoatcheckError as error:
        said.append(shown(error))

    assert said
    printed = capfd.readouterr()
    warned = [str(warning.message) for warning in recwarn]
    everything = "".join([*map(repr, said), *map(str, said), caplog.text, *printed, *warned])
    assert secret not in everything


@SCHEME
async def test_urls_aio(name, secret, caplog, capfd):
    """
    The same with asyncio.
    """
    caplog.set_level(logging.DEBUG)
    said = []
    try:
        async with coatcheck.aio.by_url(
            filled(URLS[name], secret), operation_timeout=0.3
        ) as results:
            said += [repr(results), repr(results.backend), repr(vars(results))]
            for call in (results.store_result("t", 1), results.get_state("t"), results.purge()):
                try:
                    await call
                except CoatcheckError as error:
                    said.append(shown(error))
    except CoatcheckError as error:
        said.append(shown(error))

    assert said
    assert secret not in "".join([*said, caplog.text, *capfd.readouterr()])


@SCHEME
def test_configuration(name, secret, monkeypatch):
    """
    A configuration with secrets in it, and the environment, show none.
    """
    url = filled(URLS[name], secret)
    config = {"backends": {"default": {"url": url, "expires": secret, "signing_keys": secret}}}
    said = []
    monkeypatch.setenv("COATCHECK_SIGNING_KEYS", secret)
    monkeypatch.setenv("COATCHECK_URL", url)
    for make in (
        lambda: coatcheck.by_name(config=config),
        coatcheck.by_url,
        lambda: coatcheck.by_name(url),
        lambda: coatcheck.from_celery_config({"result_backend": url, "result_expires": secret}),
        lambda: configfile.load({"backends": {"default": {"url": {"a": secret}}}}),
    ):
        with pytest.raises(CoatcheckError) as caught:
            make()
        said.append(shown(caught.value))

    assert secret not in "".join(said)


@pytest.mark.parametrize("name", ["redis", "no URL"])
def test_the_command_line(name, secret, tmp_path):
    """
    What the command line prints shows none, also of what is configured.
    """
    url = filled(URLS[name], secret)
    (tmp_path / "coatcheck.toml").write_text(f'[backends.default]\nurl = "{url}"\nx = "{secret}"\n')
    environment = {**os.environ, "COATCHECK_OPERATION_TIMEOUT": "0.3"}
    for arguments in (["--backend", url, "get", "t"], ["backends"]):
        run = subprocess.run(
            [sys.executable, "-m", "coatcheck", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert run.stdout + run.stderr
        assert secret not in run.stdout + run.stderr
