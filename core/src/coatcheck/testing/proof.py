"""
The hooks of a proof: a store, and ways into it without the backend.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar

import pytest

from .. import Capability, by_url
from .._backends.asyncio_backend import KeyValueBackend as AioKeyValueBackend
from .._backends.backend import DEFAULT_KEY_PREFIX, KeyValueBackend
from .._coding.codec import Codec
from .._record.meta import ResultMeta
from .._results.results import Results
from ..aio import Results as AioResults
from ..aio import by_url as aio_by_url
from . import patience, report
from .awaited import Awaited
from .journal import Journal
from .promises import F, needs, suite_of
from .samples import Planted

#: A password that must show nowhere; for use in `unreachable_url`.
SECRET: Final = "hunter2-is-secret"  # noqa: S105 - that is the point

#: Asks for tests that take long.
LONG: Final = "COATCHECK_TESTING_LONG"
#: See `patience`.
PATIENCE: Final = patience.PATIENCE

ALL_SERIALIZERS: Final = ("json", "msgpack", "pickle")

R = TypeVar("R", Results, AioResults)


class Proof:
    """
    The hooks of a proof.

    Every proof gives `url` and two ways into the store: `raw_get` and `raw_put` for a store of bytes,
    `raw_document` and `raw_plant` for one of fields. The others are optional; tests that need a missing
    hook are left out, see `left_out`.
    """

    #: The names that a proof may define; it may override no others.
    HOOKS: ClassVar[frozenset[str]] = frozenset(
        {
            "url", "sync_results", "aio_results", "raw_get", "raw_put", "raw_ttl", "raw_document",
            "raw_plant", "open_resources", "limited", "unreachable_url", "address", "through", "cut",
        }
    )  # fmt: skip
    _contract: ClassVar[type] = object
    _left_out: ClassVar[dict[str, tuple[str, ...]]] = {}

    # -- the store ------------------------------------------------------------------------

    @pytest.fixture
    def url(self) -> str:
        """The URL of an empty store. New processes must find the backend by it, too."""
        raise NotImplementedError("a proof has a fixture `url`: the URL of an empty store")

    def sync_results(self, **options: Any) -> Results:
        """Return a new client of the store, for synchronous code."""
        return by_url(self.store_url, **options)

    def aio_results(self, **options: Any) -> AioResults:
        """Return a new client of the store, for asyncio."""
        return aio_by_url(self.store_url, **options)

    # -- the oracle: round the backend ----------------------------------------------------

    def raw_get(self, key: str) -> bytes | None:
        """Return the bytes that the store has under *key*, or `None`."""
        raise NotImplementedError("a proof has a method raw_get(key) that goes round the backend")

    def raw_put(self, key: str, value: bytes) -> None:
        """Put bytes into the store, without a life."""
        raise NotImplementedError("a proof has a method raw_put(key, value)")

    def raw_ttl(self, key: str) -> float | None:
        """Return the store's own count of seconds until *key* expires; `None` for never."""
        raise NotImplementedError

    def raw_document(self, task_id: str) -> Mapping[str, Any] | None:
        """Return the record's fields as stored. For a store that keeps fields instead of bytes."""
        data = self.raw_get(self.key_prefix + task_id)
        return None if data is None else self._codec.decode(task_id, data).document

    def raw_plant(self, task_id: str, planted: Planted) -> None:
        """
        Put a record into the store that no backend of ours wrote, without a life.

        A store that keeps fields instead of bytes takes `planted.fields`.
        """
        self.raw_put(self.key_prefix + task_id, planted.record)

    def open_resources(self) -> int:
        """Return the number of our connections, subscriptions or files that the store sees open."""
        raise NotImplementedError

    def limited(self) -> tuple[str, int]:
        """
        Return the URL of a store whose server refuses records over a limit of its own, and that limit.

        The limit is in bytes, best a small one. Tests leave records there.
        """
        raise NotImplementedError

    # -- trouble --------------------------------------------------------------------------

    def unreachable_url(self) -> str:
        """
        Return the URL of a store that cannot be reached.

        Its password is `SECRET` if a URL of this backend can have one.
        """
        raise NotImplementedError

    def address(self) -> tuple[str, int]:
        """Return the store's host and TCP port, for a proxy in front of it."""
        raise NotImplementedError

    def through(self, port: int) -> str:
        """Return the URL of the store through *port* on 127.0.0.1."""
        raise NotImplementedError

    def cut(self) -> None:
        """
        Cut every connection of our clients to the store; it accepts new ones.

        A proof with `address` and `through` may do without: the contract cuts those of a proxy.
        """
        raise NotImplementedError

    # -- the contract's own use of it ----------------------------------------------------

    store_url: str
    #: The prefix of the keys of a client with default options.
    key_prefix: str = DEFAULT_KEY_PREFIX
    journal: Journal
    _codec: ClassVar[Codec] = Codec(accept=ALL_SERIALIZERS)

    @pytest.fixture(autouse=True)
    def _proof(self, url: str, request: pytest.FixtureRequest) -> None:
        report.load(request.config)
        self.journal = Journal()
        self.store_url = url
        # Not by `record_property`, which warns: reports have these all the same.
        promises = getattr(request.function, "promises", ())
        request.node.user_properties.extend(("promise", number) for number in promises)

    @pytest.fixture
    def other(self) -> Iterator[Results]:
        """Another client of the same store, synchronous on both sides, and never awaited."""
        with self.recorded(self.sync_results()) as results:
            yield results

    def recorded(self, results: R) -> R:
        """Return *results*, and write down the calls of its backend from now on."""
        self.journal.record(innermost(results.backend))
        return results

    @classmethod
    def cuts_by_itself(cls) -> bool:
        return cls.cut is not Proof.cut

    def plant(self, task_id: str, record: bytes | Planted) -> None:
        """Put a record that no backend of ours wrote into the store; bytes are JSON."""
        self.raw_plant(task_id, Planted.json(record) if isinstance(record, bytes) else record)

    def __init_subclass__(cls, *, contract: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        if contract:
            cls._contract = cls
        elif cls._contract is not object:
            _refuse_overrides(cls, cls._contract)
            _leave_out(cls, cls._contract)


def _refuse_overrides(proof: type, contract: type) -> None:
    own = {name for part in contract.__mro__[:-1] for name in vars(part)}
    for part in proof.__mro__:
        if part in contract.__mro__:
            continue
        made = vars(part).get("_left_out", {})
        taken = {n for n in own & set(vars(part)) if not n.startswith("__") and n not in made}
        if forbidden := sorted(taken - Proof.HOOKS - {"_left_out"}):
            raise TypeError(
                f"{part.__qualname__} may not override {', '.join(forbidden)}: the contract is "
                "the same for all backends"
            )


def _leave_out(proof: Any, contract: type) -> None:
    proof._left_out = {}
    for name, test in suite_of(contract).items():
        lacking = _lacking(proof, getattr(test, "needs", ()))
        if lacking:
            proof._left_out[name] = tuple(lacking)
        # A subclass of a proof may add a missing hook.
        if lacking or getattr(proof, name) is None:
            setattr(proof, name, None if lacking else test)


def at_length(test: F) -> F:
    """Leave a long test out, unless the environment asks for it by `COATCHECK_TESTING_LONG`."""
    return pytest.mark.chaos(test) if os.environ.get(LONG) else needs(LONG)(test)


def _lacking(proof: Any, hooks: Iterable[str]) -> list[str]:
    lacking = {hook for hook in Proof.HOOKS if getattr(proof, hook) is getattr(Proof, hook)}
    if not lacking & {"address", "through"}:
        lacking.discard("cut")
    return [hook for hook in hooks if hook in lacking or hook == LONG]


def innermost(backend: Any) -> Any:
    """Return the backend of the store itself, without core's wrappers."""
    while True:
        backend = backend.sync if isinstance(backend, Awaited) else backend
        if not hasattr(backend, "backend"):
            return backend
        backend = backend.backend


def has_keys(results: Results | AioResults) -> bool:
    """Whether the store has keys and bytes, so that keys can have a prefix."""
    return isinstance(innermost(results.backend), (KeyValueBackend, AioKeyValueBackend))


def has(results: Results | AioResults, capability: Capability) -> bool:
    return capability in results.backend.capabilities


def record_of(results: Results | AioResults, task_id: str, state: str, value: Any) -> ResultMeta:
    """Return a record as *results* would write it, for calls of the backend itself."""
    return results._writer.record(task_id, state, value)
