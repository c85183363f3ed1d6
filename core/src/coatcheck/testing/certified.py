"""
The proof of a live store that `coatcheck certify` runs: it knows the store by its URL alone.

It looks at records through a second client, since it knows no way round the backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

import pytest

from .. import by_url
from .._backends.backend import Backend
from .._results.results import Results
from .._settings.url import URL, host_and_port
from ..aio import Results as AioResults
from ..aio import by_url as aio_by_url
from ..states import READY_STATES
from . import latencies
from .contract import AioBackendContract, BackendContract
from .place import Place
from .proof import SECRET, innermost
from .proxy import Proxy
from .samples import Planted

_PLACE: Final = Place.of_environment()
_PARTS: Final = count()


class Certified:
    """What every store can do."""

    @pytest.fixture
    def url(self) -> Iterator[str]:
        assert _PLACE is not None
        self.place: Place = _PLACE
        self.part: int = next(_PARTS)
        self.key_prefix: str = self.place.prefix(self.part)
        for client in (by_url(self.place.url), aio_by_url(self.place.url)):
            self.place.follow(client)
        yield self.place.url_of(self.part)
        if not self.place.keyed:
            self.place.sweep()

    def sync_results(self, **options: Any) -> Results:
        return by_url(self.place.url_of(self.part), **self._within(options))

    def aio_results(self, **options: Any) -> AioResults:
        return aio_by_url(self.place.url_of(self.part), **self._within(options))

    def _within(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return *options* with a prefix of keys that leads to this place."""
        if self.place.keyed and "key_prefix" in options:
            options["key_prefix"] = self.place.prefix(self.part, f"other:{options['key_prefix']}")
        return options

    @contextmanager
    def _oracle(self) -> Iterator[Backend[Any]]:
        with by_url(self.place.url) as results:
            yield innermost(results.backend) if self.place.keyed else results.backend

    def raw_get(self, key: str) -> bytes | None:
        with self._oracle() as store:
            value: bytes | None = store.get_many([key]).get(key)
        return value

    def raw_put(self, key: str, value: bytes) -> None:
        with self._oracle() as store:
            store.delete_many([key])
            store.put(key, value, unless=READY_STATES, expires=None)


class CertifiedFields(Certified):
    """The same for a store that keeps fields, where no foreign record can be planted."""

    def raw_document(self, task_id: str) -> Mapping[str, Any] | None:
        with self._oracle() as store:
            found = store.get_many([task_id]).get(task_id)
        return None if found is None else found.document

    def raw_plant(self, task_id: str, planted: Planted) -> None:
        pytest.skip("a foreign record cannot be planted by way of the backend")


class Behind(Certified):
    """What a store can do as well if a proxy can stand before it."""

    def address(self) -> tuple[str, int]:
        return address_in(self.place.url)

    def through(self, port: int) -> str:
        return self.place.url_of(self.part, by_way_of(self.place.url, port))

    def unreachable_url(self) -> str:
        with Proxy("127.0.0.1", 1) as proxy:
            return by_way_of(self.place.url, proxy.port, password=SECRET)


def address_in(url: str) -> tuple[str, int]:
    """Return host and port in *url*. Raises `ValueError` unless it names one host with its port."""
    netloc = URL(url).netloc.rpartition("@")[2]
    if "," in netloc or ";" in url or not netloc.rpartition(":")[2].isdigit():
        raise ValueError("the URL does not name one host and its port")
    return host_and_port(URL(url), netloc, port=0, path="")


def by_way_of(url: str, port: int, *, password: str | None = None) -> str:
    """Return *url* with *port* of this host in place of its own, and maybe another password."""
    before, slashes, rest = url.partition("://")
    netloc = URL(url).netloc
    users, at, _ = netloc.rpartition("@")
    if password is not None and ":" in users:
        users = f"{users.partition(':')[0]}:{password}"
    return f"{before}{slashes}{users}{at}127.0.0.1:{port}{rest[len(netloc) :]}"


if _PLACE is not None:
    _HOOKS = (
        *([Behind] if _PLACE.proxied else []),
        *([Certified] if _PLACE.keyed else [CertifiedFields]),
    )
    TestStore: type = type("TestStore", (*_HOOKS, BackendContract), {})
    TestStoreAio: type = type("TestStoreAio", (*_HOOKS, AioBackendContract), {})

    def test_latencies(request: pytest.FixtureRequest) -> None:
        """Measure the store: no part of the contract."""
        assert _PLACE is not None
        with by_url(_PLACE.url) as client:
            _PLACE.follow(client)
        measured = latencies.measure(_PLACE.url_of("latencies"))
        request.node.user_properties.append(("latencies", measured))
