"""
coatcheck: where Python programs leave the results of background work and pick them up again.

The public names are those of `_api.__all__`; `coatcheck.aio` has them for asyncio. They are
imported when the first of them is used, so that `import coatcheck` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would take longer than all the rest
if TYPE_CHECKING:
    from ._api import *  # noqa: F403
    from ._api import __all__ as __all__

__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415
    from importlib.machinery import PathFinder  # noqa: PLC0415

    if name == "aio":
        return import_module("coatcheck.aio")
    # `from . import module` asks here first; importing all the rest then would go in a circle.
    is_module = PathFinder.find_spec(f"coatcheck.{name}", __path__) is not None  # noqa: F405
    api = None if is_module else import_module("coatcheck._api")
    if api is None or (name != "__all__" and name not in api.__all__):
        raise AttributeError(f"module 'coatcheck' has no attribute {name!r}")
    value: object = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from ._api import __all__ as names  # noqa: PLC0415

    dunders = (name for name in globals() if name.startswith("__"))
    return sorted({*dunders, *names, "aio"})
