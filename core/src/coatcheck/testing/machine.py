"""
A state machine of hypothesis that compares a backend with a dict.

`check(backend)` runs it. Keys have a random prefix for each run of steps, so the store need not be
empty, and several machines may share it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from .._backends.backend import ANY, Backend, Capability, Unless
from .._coding.codec import Codec
from .._record.meta import ResultMeta
from .._results.writing import Writer
from ..states import READY_STATES
from .proof import innermost

KEYS = ("a", "ab", "b", "a*", "☃ x")
STATES = ("STARTED", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED")
UNLESS: tuple[Unless, ...] = (READY_STATES, READY_STATES, frozenset({"SUCCESS"}), frozenset(), ANY)
#: How long a short-lived record lives at least, in seconds, and how far clocks may differ.
SHORT = 0.1
SKEW = 0.05

_keys = st.sampled_from(KEYS)
_states = st.sampled_from(STATES)
_unless = st.sampled_from(UNLESS)
_lives = st.sampled_from(["kept", "long", "month"])
_SECONDS = {"kept": None, "long": 60.0, "month": 31 * 86_400.0}


@dataclass
class Entry:
    """A record of the model. It lives at least until `lives`, and is gone by `gone`."""

    meta: ResultMeta
    lives: float = float("inf")
    gone: float = float("inf")


class BackendMachine(RuleBasedStateMachine):
    """
    Puts, matches, reads, deletes, scans, and lets time pass.

    Args:
        backend: one that speaks metas, such as the `backend` of a `Results`.
        clock: monotonic seconds, as the backend's store counts them.
        sleep: lets that clock go on.
    """

    def __init__(
        self,
        backend: Backend[ResultMeta],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__()
        self._backend = backend
        self._clock = clock
        self._sleep = sleep
        unit = innermost(backend).expires_resolution
        self._short = max(SHORT, unit)
        self._slack = unit + SKEW
        self._prefix = f"{uuid.uuid4()}-"
        self._model: dict[str, Entry] = {}
        self._observed: dict[str, ResultMeta] = {}
        self._last: dict[str, ResultMeta] = {}
        self._count = 0
        #: How often short-lived records may still be waited for: each time takes a while.
        self._pauses = 1
        codec = Codec()
        self._writer = Writer(codec, expires=None, protect=READY_STATES, read_only=False)

    def teardown(self) -> None:
        self._backend.delete_many([self._prefix + key for key in KEYS])

    # -- the rules ------------------------------------------------------------------------

    @rule(key=_keys, state=_states, unless=_unless, life=_lives)
    def put(self, key: str, state: str, unless: Unless, life: str) -> None:
        self._settle()
        meta = self._last[key] = self._record(key, state)
        allowed = self._allows(key, unless)
        self._put(key, meta, life, allowed=allowed, unless=unless)

    @rule(key=_keys, state=_states, life=_lives)
    def put_over_observed(self, key: str, state: str, life: str) -> None:
        """Put a new record over the exact one that was read last, which may be gone by now."""
        self._settle()
        observed = self._observed.get(key)
        if observed is None:
            return
        current = self._model.get(key)
        allowed = current is not None and current.meta.write_id == observed.write_id
        meta = self._last[key] = self._record(key, state)
        self._put(key, meta, life, allowed=allowed, if_match=observed)

    @rule(key=_keys)
    def put_again(self, key: str) -> None:
        """Repeat the last write, which may have been stored or refused."""
        self._settle()
        meta, current = self._last.get(key), self._model.get(key)
        if meta is None or (current is not None and current.gone < float("inf")):
            return
        found = current is not None and current.meta.write_id == meta.write_id
        if self._allows(key, READY_STATES):
            self._model[key] = Entry(meta)
            found = True
        full = self._prefix + key
        assert found == self._backend.put(full, meta, unless=READY_STATES, expires=None)

    @rule(pairs=st.lists(st.tuples(_keys, _states), max_size=5))
    def put_many(self, pairs: list[tuple[str, str]]) -> None:
        """Put a batch, which may have one key twice."""
        self._settle()
        items, expected = [], []
        for key, state in pairs:
            meta = self._last[key] = self._record(key, state)
            items.append((meta.task_id, meta))
            expected.append(self._allows(key, READY_STATES))
            if expected[-1]:
                self._model[key] = Entry(meta)
        answers = self._backend.put_many(items, unless=READY_STATES, expires=60.0)
        if self._is_certain({key for key, _ in pairs}):
            assert expected == answers

    @rule(keys=st.lists(_keys, max_size=6))
    def get_many(self, keys: list[str]) -> None:
        self._settle()
        found = self._backend.get_many([self._prefix + key for key in keys])
        expected = {self._prefix + key: self._model[key] for key in keys if key in self._model}
        if self._is_certain(keys):
            assert {id_: _shown(entry.meta) for id_, entry in expected.items()} == {
                id_: _shown(meta) for id_, meta in found.items()
            }
            self._observed |= {id_.removeprefix(self._prefix): m for id_, m in found.items()}

    @rule(keys=st.lists(_keys, max_size=3, unique=True))
    def delete_many(self, keys: list[str]) -> None:
        """Delete some, and count the present ones."""
        self._settle()
        count = self._backend.delete_many([self._prefix + key for key in keys])
        if self._is_certain(keys):
            assert len(self._model.keys() & set(keys)) == count
        for key in keys:
            self._model.pop(key, None)

    @precondition(lambda self: Capability.SCAN in self._backend.capabilities)
    @rule(start=st.sampled_from(["", "a", "a*", "☃"]))
    def scan(self, start: str) -> None:
        """Find all, or those with a prefix."""
        self._settle()
        skip = len(self._prefix)
        found = sorted(key[skip:] for key in self._backend.scan(self._prefix + start))
        if self._is_certain(KEYS):
            assert sorted(key for key in self._model if key.startswith(start)) == found

    @precondition(lambda self: self._pauses)
    @rule(keys=st.lists(_keys, min_size=1, max_size=3, unique=True), state=_states)
    def let_time_pass(self, keys: list[str], state: str) -> None:
        """Put short-lived records, and wait until they are gone."""
        self._settle()
        self._pauses -= 1
        for key in keys:
            allowed = self._allows(key, READY_STATES)
            self._put(key, self._record(key, state), "short", allowed=allowed)
        self._until(max([0.0, *(e.gone for e in self._model.values() if e.gone < float("inf"))]))
        self._settle()
        self._backend.purge()
        self.get_many(list(KEYS))

    # -- the model ------------------------------------------------------------------------

    def _record(self, key: str, state: str) -> ResultMeta:
        self._count += 1
        ready = state in READY_STATES - {"SUCCESS"}
        value = ValueError(self._count) if ready else self._count
        return self._writer.record(self._prefix + key, state, value)

    def _allows(self, key: str, unless: Unless) -> bool:
        current = self._model.get(key)
        if current is None or unless is ANY:
            return current is None
        return isinstance(unless, frozenset) and current.meta.status not in unless

    def _put(self, key: str, meta: ResultMeta, life: str, *, allowed: bool, **how: Any) -> None:
        began = self._clock()
        seconds = self._short if life == "short" else _SECONDS[life]
        answer = self._backend.put(
            self._prefix + key, meta, expires=seconds, **{"unless": READY_STATES, **how}
        )
        certain = self._is_certain([key])
        if certain:
            assert allowed == answer
        if certain and allowed:
            self._model[key] = Entry(meta)
            if life == "short":
                ended = self._clock()
                self._model[key].lives = began + self._short - SKEW
                self._model[key].gone = ended + self._short + self._slack

    def _settle(self) -> None:
        """Wait for records that may expire now, and take expired ones out of the model."""
        now = self._clock()
        for key, entry in list(self._model.items()):
            if entry.lives <= now:
                self._until(entry.gone)
                del self._model[key]

    def _is_certain(self, keys: Collection[str]) -> bool:
        """Whether none of *keys* may have expired meanwhile; else delete them."""
        now = self._clock()
        if all(self._model[key].lives > now for key in keys if key in self._model):
            return True
        for key in keys:
            self._backend.delete_many([self._prefix + key])
            self._model.pop(key, None)
        return False

    def _until(self, moment: float) -> None:
        self._sleep(max(moment - self._clock(), 0.0))


def _shown(meta: ResultMeta) -> Sequence[object]:
    return meta.status, meta.write_id, meta.known


def check(
    backend: Backend[ResultMeta],
    *,
    examples: int = 20,
    steps: int = 40,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Run the machine on *backend*, the same way each time; raise with the failing steps."""
    make: Any = partial(BackendMachine, backend, clock=clock, sleep=sleep)
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
