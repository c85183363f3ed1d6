"""
The contract that every backend keeps, for the tests of plugins: install `coatcheck[testing]`.

`BackendContract` and `AioBackendContract` are pytest classes. A proof is a subclass that names an
empty store and looks into it without the backend. These modules can also be used alone:

- `machine`: a state machine of hypothesis that compares a backend with a model
- `history`: checks the observations of racing writers and readers against the first-ready rule
- `chaos`: writers and waiters on a store under `faults`, with a check of all their observations
- `proxy`: a TCP proxy that cuts, resets, delays, stalls, and drops or truncates replies
- `doubles`: a clock to turn by hand; backends that fail, stall, or never ring
- `queues`: the contract of adapters for queues, and `jobs`, which their worker runs
- `cancelling`: cancels a coroutine at its n-th suspension
- `interrupts`: raises at each place where a signal handler can run, in turn; `storm`: real alarms

The names are imported on first use, because the contract's child processes need no pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import AioBackendContract, BackendContract
    from .promises import PROMISES, left_out, promises_of
    from .queues import QueueContract

__all__ = [
    "PROMISES",
    "AioBackendContract",
    "BackendContract",
    "QueueContract",
    "left_out",
    "promises_of",
]

_HOMES = {
    "AioBackendContract": "contract",
    "BackendContract": "contract",
    "PROMISES": "promises",
    "QueueContract": "queues",
    "left_out": "promises",
    "promises_of": "promises",
}
#: Pytest explains the assertions of these modules.
_ASSERTING = ("contract", "history", "sides", "threads", "machine", "forked", "queues")


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Contract"):
        _explain_assertions()
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def _explain_assertions() -> None:
    import sys  # noqa: PLC0415

    import pytest  # noqa: PLC0415

    modules = [f"{__name__}.{name}" for name in _ASSERTING]
    # pytest warns of modules that were imported before it could rewrite them.
    pytest.register_assert_rewrite(*(name for name in modules if name not in sys.modules))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
