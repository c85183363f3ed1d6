"""
Claims: which of several callers does the work of a key, and whose claim can be taken over. No I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from .. import states
from .._record.meta import ResultMeta
from .._runtime.clocks import monotonic
from .._settings.durations import checked_timeout
from ..errors import ArgumentError, OnceConflictError, WorkerLostError
from .blocks import TaskProgress
from .losses import is_claim

#: Seconds between the signs of life of a claim, by default.
DEFAULT_HEARTBEAT: Final = 10.0
#: The bytes of the request that a key stands for.
Fingerprint = str | bytes | None


def digest_of(fingerprint: object) -> str | None:
    """Return the SHA-256 of *fingerprint*, which may be long, or a secret."""
    if fingerprint is None:
        return None
    if not isinstance(fingerprint, (str, bytes)):
        way_out = "use str or bytes, such as the body of the request"
        raise ArgumentError("a fingerprint", fingerprint, way_out)
    data = (
        fingerprint.encode(errors="surrogatepass") if isinstance(fingerprint, str) else fingerprint
    )
    return hashlib.sha256(data).hexdigest()


def _mark_of(meta: ResultMeta) -> Mapping[str, Any]:
    mark = meta.document.get("once")
    return mark if isinstance(mark, Mapping) else {}


class Contest:
    """
    The knowledge of one caller about a key.

    Args:
        fingerprint: the caller's; another one in the record raises `OnceConflictError`.
        timeout: how many seconds to wait for the result of somebody else; `None` waits.
    """

    def __init__(self, task_id: str, fingerprint: Fingerprint, timeout: float | None) -> None:
        self.task_id = task_id
        #: The stored form of the fingerprint.
        self.digest: str | None = digest_of(fingerprint)
        #: The unready record that the next claim replaces; `None` where there was none.
        self.over: ResultMeta | None = None
        #: The ready record, if the work is done.
        self.ready: ResultMeta | None = None
        timeout = checked_timeout(timeout)
        self._deadline = None if timeout is None else monotonic() + timeout

    @property
    def left(self) -> float | None:
        """The seconds that the caller still waits."""
        return None if self._deadline is None else max(self._deadline - monotonic(), 0.0)

    def found(self, meta: ResultMeta | None) -> bool:
        """
        Take in the stored record. Return whether to act: the work is done, or the key can be claimed.
        """
        self.over = self.ready = None
        if meta is None:
            return True
        self._check(meta)
        if meta.ready:
            self.ready = meta
            return True
        self.over = meta
        # Expected by somebody, or handed back. A record that cannot be read is neither.
        is_open = meta.status == states.PENDING or (meta.status == states.RETRY and is_claim(meta))
        return is_open and meta.error is None

    def changed(self, meta: ResultMeta) -> bool:
        """
        Take in a record that a wait delivered, see `found`.

        A lost claimant is no stored failure, or else the claim over its last record fails.
        """
        lost = meta.failed and meta.error is None and isinstance(meta.result, WorkerLostError)
        return lost or self.found(meta)

    def _check(self, meta: ResultMeta) -> None:
        theirs = _mark_of(meta).get("fingerprint")
        if self.digest is not None and theirs not in (None, self.digest):
            raise OnceConflictError(self.task_id)


class Claimed(TaskProgress):
    """The part of a claim that both sides share. No I/O."""

    _contest: Contest
    result: Any
    won: bool | None

    #: Whether the block does the work. Otherwise `result` has the stored value.
    mine: bool = False

    def _begin_claim(self) -> None:
        """Prepare the record that claims the key."""
        self._fields["once"] = {"fingerprint": self._contest.digest, "run": self._run}
        self._fields["date_started"] = datetime.now(UTC)

    def _may_beat_over(self, observed: ResultMeta | None) -> bool:
        return observed is None or _mark_of(observed).get("run") == self._run

    def _take(self, ready: ResultMeta) -> None:
        """Take the stored value as the result, or raise the stored failure."""
        self.won = False
        self.result = ready.get()

    def _hands_back(self, error: BaseException | None) -> bool:
        """
        Whether the next caller starts anew: *error* is no failure of the work, but its interruption. Then
        prepare the record that says so.
        """
        if error is None or self._revocation or self._ready(error)[0] != states.REVOKED:
            return False
        self._heartbeat = None
        self._fields = {"once": self._fields["once"]}
        self._set(states.PENDING, None)
        self.won = False
        return True
