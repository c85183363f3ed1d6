"""
The servers: which of them has a key, and steps at one or at several, repeated within one deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pymemcache.client.rendezvous import RendezvousHash

from coatcheck.errors import BackendError
from coatcheck.plugin import Attempts, Repeats, monotonic, pass_on_interruption

from .errors import ERRORS, is_transient, mapped
from .pool import Pool
from .settings import Settings, server_name
from .steps import Step

#: The part of the time that one try may take: two of them fit in.
_TRY: Final = 0.45
#: The seconds for a server that was down, if others are asked as well.
_MOMENT: Final = 0.25
#: The keys whose server is remembered: hashing a key in Python takes longer than reading its record.
_REMEMBERED: Final = 16_384


class Failures(Exception):  # noqa: N818 - several errors
    """The errors of one try, and the servers where they happened."""

    def __init__(self, errors: Mapping[Pool, Exception]) -> None:
        super().__init__(errors)
        self.errors = errors


class Link:
    """
    The way to all servers. Shared by threads.

    The names of all servers, alive or not, decide which of them has a key. No server takes over the keys of
    a dead one: then two records could be the first.
    """

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.operation_timeout
        self._try_seconds = min(settings.read_timeout, settings.operation_timeout * _TRY)
        self.repeats = Repeats(
            settings.operation_timeout,
            errors=(Failures,),
            is_transient=_all_transient,
            mapped=_mapped,
        )
        #: The largest value, in bytes, that all servers take which told their limit.
        self.max_value_bytes: int | None = None
        self._pools = {
            server_name(address): Pool(address, settings, self._learn)
            for address in settings.addresses
        }
        self._only = next(iter(self._pools.values())) if len(self._pools) == 1 else None
        self._hash = RendezvousHash(list(self._pools))
        self._pool_of = lru_cache(_REMEMBERED)(self._find_pool)

    def _learn(self) -> None:
        limits = [pool.max_value_bytes for pool in self._pools.values()]
        self.max_value_bytes = min(limit for limit in limits if limit is not None)

    def _find_pool(self, name: str) -> Pool:
        return self._pools[self._hash.get_node(name)]

    def pool_of(self, name: str) -> Pool:
        """Return the pool of the server that has the key called *name*."""
        return self._only or self._pool_of(name)

    def pool_at(self, server: str) -> Pool:
        """Return the pool of the *server* with that name."""
        return self._pools[server]

    def run(self, work: Mapping[Pool, Step]) -> None:
        """
        Do each step of *work* at its server. Raises a `BackendError` if a step failed, after the work for
        the other servers is done.
        """
        if len(work) == 1:
            ((pool, step),) = work.items()
            self._run_at(pool, step)
        else:
            self._run_all(work)

    def _run_at(self, pool: Pool, step: Step) -> None:
        seconds = self._try_seconds

        def act(_: Attempts) -> None:
            error = _do(pool, step, monotonic() + seconds)
            if error is not None:
                raise Failures({pool: error})

        try:
            self.repeats.run(act, writing=step.writing)
        except BackendError:
            pool.is_down = True
            raise
        pool.is_down = False
        step.check(pool.label)

    def _run_all(self, work: Mapping[Pool, Step]) -> None:
        """
        See `run`. A read from a server that failed the last time gets only a moment, so that waits for keys
        of the other servers do not stop for it each time.
        """
        deadline = monotonic() + self._seconds
        down = {pool for pool, step in work.items() if pool.is_down and not step.writing}
        left = {pool: step for pool, step in work.items() if pool not in down} or dict(work)
        later = work.keys() - left.keys()

        def act(_: Attempts) -> None:
            errors = self._try(left, deadline)
            for pool in left.keys() - errors.keys():
                del left[pool]
            if errors:
                raise Failures(errors)

        failure: BackendError | None = None
        try:
            self.repeats.run(act, writing=any(step.writing for step in work.values()))
        except BackendError as error:
            failure = error
        for pool in later:
            found = _do(pool, work[pool], min(deadline, monotonic() + _MOMENT))
            if found is not None:
                left[pool] = work[pool]
                failure = failure or _mapped(Failures({pool: found}), writing=False)
        for pool in work:
            pool.is_down = pool in left
        if failure is not None:
            raise failure
        for pool, step in work.items():
            step.check(pool.label)

    def _try(self, work: Mapping[Pool, Step], deadline: float) -> dict[Pool, Exception]:
        """
        Do *work* once, one server after the other, each in its share of the time. Return the errors.
        """
        errors: dict[Pool, Exception] = {}
        for after, (pool, step) in zip(range(len(work) - 1, -1, -1), work.items(), strict=True):
            now = monotonic()
            share = max(deadline - now, 0) / (after + 1)
            error = _do(pool, step, now + min(self._try_seconds, share))
            if error is not None:
                errors[pool] = error
        return errors

    def close(self) -> None:
        """Close all connections; the next step opens new ones."""
        for pool in self._pools.values():
            pool.close()


def _do(pool: Pool, step: Step, end: float) -> Exception | None:
    """
    Do a step over a connection of *pool*, until *end*. Return the error; then the step begins anew.
    """
    try:
        pool.lend(step.run, end)
    except ERRORS as error:
        pass_on_interruption(error)
        step.restart()
        return error
    return None


def _all_transient(error: Failures) -> bool:
    return all(map(is_transient, error.errors.values()))


def _mapped(error: Failures, /, *, writing: bool) -> BackendError:
    """Return our error for one of them, preferably for one that will not pass."""
    pool = min(error.errors, key=lambda pool: is_transient(error.errors[pool]))
    ours = mapped(error.errors[pool], pool.label, writing=writing)
    ours.__cause__ = error.errors[pool]
    return ours
