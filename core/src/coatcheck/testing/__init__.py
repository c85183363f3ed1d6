"""
What a backend is, as code that a plugin's tests run: install `coatcheck[testing]`.

`BackendContract` and `AioBackendContract` are pytest classes; a proof is a subclass that names an
empty store and looks into it round the backend. Besides there are, to be used by themselves:

- `machine`: a state machine of hypothesis that compares a backend with a model
- `history`: whether what racing writers and readers saw is what the first-ready rule allows
- `chaos`: writers and waiters on a store under `faults`, and a check of all that they saw
- `proxy`: a TCP proxy that cuts, resets, delays, stalls, and drops or truncates replies
- `doubles`: a clock to turn by hand, backends that fail, stall, or never ring
- `cancelling`: cancels a coroutine at its n-th suspension
- `interrupts`: raises at each place where a signal handler can come, in turn; `storm`: real alarms

The names are imported when they are used: the contract's own child processes need no pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import AioBackendContract, BackendContract
    from .promises import PROMISES, left_out, promises_of

__all__ = ["PROMISES", "AioBackendContract", "BackendContract", "left_out", "promises_of"]

_HOMES = {
    "AioBackendContract": "contract",
    "BackendContract": "contract",
    "PROMISES": "promises",
    "left_out": "promises",
    "promises_of": "promises",
}
#: The modules whose assertions pytest is to explain.
_ASSERTING = ("contract", "history", "sides", "threads", "machine", "forked")


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
