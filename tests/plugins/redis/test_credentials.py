"""
Credential providers of redis-py, which are asked at each connect to any server.
"""

from __future__ import annotations

import pytest
from redis.credentials import CredentialProvider
from support.redis import RedisServer, Sentinels

import coatcheck
import coatcheck.aio


class Rotating(CredentialProvider):
    """Gives a password that changes, as tokens do."""

    def __init__(self, password="first"):
        self.password = password
        self.asked = 0

    def get_credentials(self):
        self.asked += 1
        return "default", self.password


class First(Rotating):
    """Can be made by its name."""


class OfLoops(Rotating):
    """Is asked by a coroutine of its own."""

    async def get_credentials_async(self):
        return self.get_credentials()


class Failing:
    """No class of redis-py's, and out of order."""

    def get_credentials(self):
        raise RuntimeError("token=secret")


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path, password="first") as server:
        yield server


def rotate(server, provider):
    """Change the password, and close the connections that used the old one."""
    provider.password = "second"
    server.ask("CONFIG", "SET", "requirepass", "second")
    server.password = "second"
    with server.client as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)


def test_tokens_rotate(server):
    """Each connect asks anew, so a store after a rotation succeeds; the URL's password is not used."""
    provider = Rotating()
    with coatcheck.by_url(
        f"redis://me:old@127.0.0.1:{server.port}", credential_provider=provider
    ) as results:
        results.store_result("a", 1)
        assert 1 == results.AsyncResult("a").get(timeout=5)
        before = provider.asked
        rotate(server, provider)

        assert results.store_result("b", 2)
        assert 2 == results.AsyncResult("b").get(timeout=5)
        assert provider.asked > before


@pytest.mark.parametrize("kind", [Rotating, OfLoops])
async def test_tokens_rotate_aio(server, kind):
    """The same under asyncio, whether or not the provider knows of loops."""
    provider = kind()
    url = f"redis://127.0.0.1:{server.port}"
    async with coatcheck.aio.by_url(url, credential_provider=provider) as results:
        await results.store_result("a", 1)
        before = provider.asked
        rotate(server, provider)

        assert await results.store_result("b", 2)
        assert 2 == await results.AsyncResult("b").get(timeout=5)
        assert provider.asked > before


async def test_sentinels(tmp_path):
    """The provider is for the master; sentinels have credentials of their own."""
    with Sentinels(tmp_path, password="pw", sentinel_password="theirs") as servers:
        url = servers.url.replace(":pw@", "")
        provider = Rotating("pw")
        with coatcheck.by_url(url, credential_provider=provider) as results:
            assert results.store_result("t", 1)
        async with coatcheck.aio.by_url(url, credential_provider=provider) as results:
            assert 1 == await results.get_result("t")


async def test_provider_that_fails(server):
    """An error of the provider's is the store's, repeated within the time, and shows no secret."""
    options = {"credential_provider": Failing(), "operation_timeout": 0.5}
    url = f"redis://127.0.0.1:{server.port}"
    with (
        coatcheck.by_url(url, **options) as results,
        pytest.raises(
            coatcheck.BackendUnavailableError, match="provider failed: RuntimeError"
        ) as e,
    ):
        results.store_result("t", 1)
    assert "secret" not in str(e.value)
    async with coatcheck.aio.by_url(url, **options) as results:
        with pytest.raises(coatcheck.BackendUnavailableError, match="provider failed"):
            await results.store_result("t", 1)
        with pytest.raises(coatcheck.WaitTimeoutError):
            await results.AsyncResult("t").get(timeout=0.3)


@pytest.mark.parametrize("given", ["app.Provider", Rotating, object()])
def test_no_provider(given):
    """Only an object is a provider: a URL may not name code to be run."""
    with pytest.raises(coatcheck.ConfigurationError, match="credential_provider"):
        coatcheck.by_url("redis://h", credential_provider=given)
    with pytest.raises(coatcheck.ConfigurationError, match="credential_provider"):
        coatcheck.by_url("redis://h?credential_provider=app.Provider")


NAME = f"{First.__module__}.{First.__name__}"


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("", {"redis_backend_credential_provider": First()}),
        ("", {"redis_backend_credential_provider": NAME}),
        (f"?credential_provider={NAME}", {}),
        (f"?client_name=x&credential_provider={NAME}&socket_timeout=2", {}),
    ],
)
def test_celerys_setting(server, query, settings):
    """Celery's application gives an object or its class's name, as a setting or in the URL."""
    url = f"redis://me:old@127.0.0.1:{server.port}/0{query}"
    config = {"result_backend": url, **settings}
    with coatcheck.from_celery_config(config) as results:
        assert results.store_result("t", 1)


def test_provider_that_cannot_be_made():
    """The error names a class that cannot be imported."""
    config = {"result_backend": "redis://h", "redis_backend_credential_provider": "no_such.Class"}
    with pytest.raises(coatcheck.ConfigurationError, match=r"no_such\.Class"):
        coatcheck.from_celery_config(config)


async def test_options_that_the_driver_lacks(monkeypatch):
    """An option that the installed redis-py does not have is refused by name when the URL is read."""
    from coatcheck_redis.settings import Settings

    real = Settings.__init__

    def with_more(self, *args, **options):
        real(self, *args, **options)
        self.connection["ssl_of_tomorrow"] = True

    monkeypatch.setattr(Settings, "__init__", with_more)
    for by_url in (coatcheck.by_url, coatcheck.aio.by_url):
        for scheme in ("redis", "rediss", "redis+socket", "redis+cluster"):
            with pytest.raises(
                coatcheck.ConfigurationError, match="'ssl_of_tomorrow' needs a later"
            ):
                by_url(f"{scheme}://h/x" if "socket" in scheme else f"{scheme}://h")
