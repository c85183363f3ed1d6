"""
All checks of a store. A fault that one finds explains those of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from .._backends.checkup import Checkup, Finding, Level
from .._results.results import Results
from .._runtime.interruptions import pass_on_interruption
from ..errors import BackendUnavailableError, CoatcheckError
from . import probing, reaching, sampling

#: After a fault that one of these finds, nothing else can be checked.
_FIRST: Final = ("reach", "login")


def examine(results: Results) -> Iterator[Finding]:
    """Check the store of *results*."""
    checkup = Checkup()
    try:
        checkup = results.backend.checkup()
    except Exception as error:  # noqa: BLE001 - the checks for all stores go on
        yield _failed("settings", error)
    checkup.key_prefix = results._key_prefix  # noqa: SLF001 - the doctor knows its patient
    timeout = results._operation_timeout  # noqa: SLF001
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "reach": lambda: reaching.reach(checkup.servers(), timeout),
        "login": partial(probing.log_in, results),
        "version": partial(_name_version, checkup),
        "store": partial(probing.probe, results),
        "clock": partial(probing.compare_clocks, checkup),
        "settings": checkup.findings,
        "records": partial(sampling.sample, results, checkup),
    }
    for check, findings in checks.items():
        worst = Level.SOUND
        for finding in _guarded(check, findings):
            worst = max(worst, finding.level)
            yield finding
        if worst == Level.BROKEN and check in _FIRST:
            return


def _name_version(checkup: Checkup) -> Iterator[Finding]:
    version = checkup.version()
    if version is not None:
        yield Finding("version", Level.SOUND, version)


def _guarded(check: str, findings: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from findings()
    except BackendUnavailableError as error:
        yield Finding(check, Level.BROKEN, str(error), "look at the server's log")
    except CoatcheckError as error:
        yield Finding(check, Level.UNCHECKED, str(error))
    except Exception as error:  # noqa: BLE001 - the other checks go on
        yield _failed(check, error)


def _failed(check: str, error: Exception) -> Finding:
    pass_on_interruption(error)
    # Not its text: it may contain the password.
    what = f"the check failed: {type(error).__name__}"
    return Finding(check, Level.UNCHECKED, what, "tell the author of the backend")
