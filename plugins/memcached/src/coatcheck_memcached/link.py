"""
Which server has a key, and steps at one server or at several in turn: one deadline for each operation, and
repeats within it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pymemcache.client.rendezvous import RendezvousHash

from coatcheck.errors import BackendError
from coatcheck.plugin import Attempts as Repeats
from coatcheck.plugin import monotonic, pass_on_interruption

from .errors import ERRORS, is_transient, mapped
from .pool import Pool
from .settings import Settings, name_of
from .steps import Step

#: What part of the time one try may take: two of them fit in.
_TRY: Final = 0.45
#: How long a server that was down is given when others are asked as well, in seconds.
_MOMENT: Final = 0.25
#: Of how many keys the place is remembered: to hash one in Python takes longer than to read it.
_REMEMBERED: Final = 16_384


class Attempts(Repeats):
    """
    As core's, where each try has its end, and of several in turn each its share.
    """

    def __init__(self, settings: Settings, start: float) -> None:
        super().__init__(settings.operation_timeout, start)
        self._try = first_try(settings)

    def end(self, after: int) -> float:
        """
        Return when a try that begins now has to end, on the monotonic clock, so that as many as
        *after* can follow.
        """
        now = monotonic()
        share = max(self._deadline - now, 0) / (after + 1)
        return now + min(self._try, share)


def first_try(settings: Settings) -> float:
    """
    Return how long a try may take, in seconds.
    """
    return min(settings.read_timeout, settings.operation_timeout * _TRY)


class Link:
    """
    The way to all servers. Shared by threads.

    A key has one place, by the names of all servers, whether they live or not. That of a dead one
    is never taken over by another: two could then be the first.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._first_try = first_try(settings)
        #: The error for which an operation is being repeated just now.
        self.trouble: Exception | None = None
        #: The largest value that all servers take, in bytes, of those that said so.
        self.max_value_bytes: int | None = None
        self._pools = {
            name_of(place): Pool(place, settings, self._learn) for place in settings.places
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
        """
        Return the pool of the server that has the key called *name*.
        """
        return self._only or self._pool_of(name)

    def run_at(self, pool: Pool, step: Step) -> None:
        """
        Do *step* at one server, see `run`.
        """
        start = monotonic()
        error = _do(pool, step, start + self._first_try)
        if error is not None:
            errors = self._repeat({pool: step}, {pool: error}, Attempts(self._settings, start))
            if errors:
                raise self._given_up({pool: step}, errors)
        self.trouble = None
        pool.is_down = False
        step.check(pool.label)

    def run(self, work: Mapping[Pool, Step]) -> None:
        """
        Do all of *work*, each step at its server. Raises a `BackendError` where no try came
        through, after what can be done at the others is done.

        To read from a server that did not come through the last time is tried for a moment only,
        so that those who wait for the others' keys need not wait for it each time.
        """
        attempts = Attempts(self._settings, monotonic())
        down = {pool for pool, step in work.items() if pool.is_down and not step.writing}
        up = {pool: step for pool, step in work.items() if pool not in down} or work
        errors = dict(self._repeat(up, self._try(up, attempts), attempts))
        for pool in work.keys() - up.keys():
            error = _do(pool, work[pool], min(attempts.end(0), monotonic() + _MOMENT))
            if error is not None:
                errors[pool] = error
        for pool in work:
            pool.is_down = False
        if errors:
            raise self._given_up(work, errors)
        self.trouble = None
        for pool, step in work.items():
            step.check(pool.label)

    def _repeat(
        self, work: Mapping[Pool, Step], errors: Mapping[Pool, Exception], attempts: Attempts
    ) -> Mapping[Pool, Exception]:
        """
        Do again what went wrong by *errors*, while there is time; return what did to the end.
        """
        while errors and all(map(is_transient, errors.values())):
            pause = attempts.next_pause()
            if pause is None:
                break
            self._failure(work, errors)
            left = {pool: work[pool] for pool in errors}
            for step in left.values():
                step.restart()
            time.sleep(pause)
            errors = self._try(left, attempts)
        return errors

    def _given_up(
        self, work: Mapping[Pool, Step], errors: Mapping[Pool, Exception]
    ) -> BackendError:
        for pool in errors:
            pool.is_down = True
        return self._failure(work, errors)

    def _failure(self, work: Mapping[Pool, Step], errors: Mapping[Pool, Exception]) -> BackendError:
        """
        Return ours for one of *errors*: one that will not pass, if there is one.
        """
        pool = min(errors, key=lambda pool: is_transient(errors[pool]))
        ours = mapped(errors[pool], pool.label, writing=work[pool].writing)
        ours.__cause__ = errors[pool]
        self.trouble = ours
        return ours

    def _try(self, work: Mapping[Pool, Step], attempts: Attempts) -> dict[Pool, Exception]:
        """
        Do *work* once, one server after the other; return what went wrong, and where.
        """
        errors: dict[Pool, Exception] = {}
        for after, (pool, step) in zip(range(len(work) - 1, -1, -1), work.items(), strict=True):
            error = _do(pool, step, attempts.end(after))
            if error is not None:
                errors[pool] = error
        return errors

    def close(self) -> None:
        """
        Close all connections; the next step opens new ones.
        """
        for pool in self._pools.values():
            pool.close()


def _do(pool: Pool, step: Step, end: float) -> Exception | None:
    """
    Do a step over a connection of *pool*, until *end*; return what went wrong.
    """
    try:
        pool.lend(step.run, end)
    except ERRORS as error:
        pass_on_interruption(error)
        # What befell one connection may have befallen those that were idle as long.
        pool.close()
        return error
    return None
