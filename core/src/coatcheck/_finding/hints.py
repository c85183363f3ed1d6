"""
Suggestions in errors for an unknown scheme or name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._runtime import entrypoints
from .._settings.config import DEFAULT_NAME, URL_VARIABLE
from ..errors import UnknownSchemeError

if TYPE_CHECKING:
    from .._settings.configfile import Configuration

#: The extra to install for a scheme: scheme = "import_name [extra]", in core's own metadata.
KNOWN_GROUP: Final = "coatcheck.known"
#: Schemes of other programs and ours for each, also in core's own metadata.
INSTEAD_GROUP: Final = "coatcheck.instead"
#: Names at least this similar are suggested.
_NEAR: Final = 0.7


def not_named(name: str, schemes: set[str], configuration: Configuration) -> str:
    """Return the message for a *name* that is neither configured nor a scheme."""
    import difflib  # noqa: PLC0415 - only for an error

    configured = sorted(configuration.backends)
    near = difflib.get_close_matches(name, [*configured, *sorted(schemes)], 1, _NEAR)
    message = f"no backend is named {name!r}"
    if near:
        message += f"; did you mean {near[0]!r}?"
    if name == DEFAULT_NAME:
        message += f"; configure one, or set {URL_VARIABLE}"
    found = "no coatcheck.toml, nor pyproject.toml with tool.coatcheck, was found"
    if configuration.where:
        found = f"configured in {configuration.where}: {', '.join(configured) or 'none'}"
    return f"{message} ({found}; schemes: {', '.join(sorted(schemes))})"


def unknown_scheme(scheme: str, installed: set[str]) -> UnknownSchemeError:
    """
    Return the error for a *scheme* that is not among those *installed*, with the way out: another
    spelling, or an extra to install.
    """
    known = {entry.name: entry for entry in entrypoints.all_of(KNOWN_GROUP)}
    entry = known.get(scheme) or known.get(scheme.partition("+")[0])
    others = {each.name: each.value for each in entrypoints.all_of(INSTEAD_GROUP)}
    near, instead = None, others.get(scheme) if entry is None else None
    if instead is not None:
        base = instead.partition("+")[0]
        entry = None if base in installed else known.get(base)
    elif entry is None:
        import difflib  # noqa: PLC0415 - only for an error

        close = difflib.get_close_matches(scheme, [*installed, *known], 1, _NEAR)
        near = close[0] if close else None
        entry = known.get(near or "") if near not in installed else None
    # Not `entry.extras`: any distribution may write to the group, and its value may be malformed.
    _, extra, rest = entry.value.partition("[") if entry is not None else ("", "", "")
    install = f"coatcheck[{rest.rstrip(']')}]" if extra else None
    return UnknownSchemeError(
        scheme, installed=installed, near=near, install=install, instead=instead
    )
