"""
`coatcheck backends`: the installed and the configured backends, and their faults.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from .._backends.backend import Capability
from .._finding.registry import AIO, BUILTIN, SYNC, Registry
from .._runtime import entrypoints
from .._runtime.interruptions import pass_on_interruption
from .._settings.url import URL, masked
from ..errors import CoatcheckError, PluginError, SchemeConflictError
from . import exits
from .options import Common, common_options
from .text import is_terminal, one_line, printable, say

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint

_SCHEMES = ("SCHEME", "DISTRIBUTION", "CAPABILITIES", "ASYNCIO", "STATUS")
_NAMES = ("NAME", "URL", "FILE")
#: In terminals with fewer columns, each row of a table gets lines of its own.
_NARROW = 80


@click.command(
    epilog="""
\b
Examples:
  coatcheck backends                    schemes and configured names
  coatcheck backends --json | jq -r '.configured[].name'
""",
)
@common_options
@click.pass_obj
def backends(common: Common) -> int:
    """
    List the schemes of URLs that can be used, and the configured backends.

    Each scheme is shown with its distribution, the capabilities of its store, whether it supports asyncio
    natively (otherwise it runs in threads) or exclusively (then synchronous code runs it on an event loop in
    a thread), and whether it can be loaded. --json prints one JSON object.
    """
    schemes = [_scheme(name) for name in sorted(SYNC.schemes() | AIO.schemes())]
    schemes += _passed_over()
    try:
        names, error = _configured(), None
    except CoatcheckError as caught:
        names, error = [], one_line(str(caught))
    if common.json:
        click.echo(json.dumps({"schemes": schemes, "configured": names, "error": error}))
    else:
        _print(_SCHEMES, [_row(scheme) for scheme in schemes])
        if names:
            click.echo()
            _print(_NAMES, [tuple(map(one_line, name.values())) for name in names])
        if error is not None:
            say(error)
    return exits.SUCCESS if error is None else exits.ERROR


# -- finding them ----------------------------------------------------------------------------


def _scheme(name: str) -> dict[str, Any]:
    """Return all about a scheme; one that cannot be loaded has an `error`."""
    entries = _entries(SYNC, name) or _entries(AIO, name)
    sync, error = _side(SYNC, name)
    native, aio_error = _side(AIO, name)
    aio = native if native is not None or aio_error is not None else sync
    on_loop = sync is None and error is None
    if on_loop:
        sync = native
    builtin = name in BUILTIN
    return _described(
        name,
        [f"coatcheck {__version__}"] if builtin else list(map(entrypoints.owner, entries)),
        error or aio_error,
        sync=None if sync is None else {**sync, "loop": on_loop},
        asyncio=None if aio is None else {**aio, "threads": native is None},
    )


def _described(
    name: str, owners: list[str], error: BaseException | None, **sides: dict[str, Any] | None
) -> dict[str, Any]:
    conflict = isinstance(error, SchemeConflictError)
    status = "ok" if error is None else "conflict" if conflict else "error"
    text = str(error) if isinstance(error, CoatcheckError) else repr(error)
    return {
        "scheme": name,
        "distributions": owners,
        "status": status,
        "error": None if error is None else one_line(text),
        **sides,
    }


def _side(registry: Registry, name: str) -> tuple[dict[str, Any] | None, BaseException | None]:
    try:
        cls = registry.find(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a broken plugin breaks nobody
        return None, error
    if cls is None:
        return None, None
    try:
        capabilities = _capabilities(cls, name)
    except PluginError as error:
        return None, error
    where = f"{cls.__module__}:{cls.__qualname__}"
    return {"class": where, "capabilities": capabilities}, None


def _capabilities(cls: type[Any], scheme: str) -> list[str] | None:
    """
    Return the capabilities of the store; `None` if they depend on its URL.

    Raises `PluginError` if the backend cannot be created, for instance because its driver is missing.
    """
    declared = getattr(cls, "capabilities", None)
    if not isinstance(declared, Capability):
        return None
    try:
        made = cls.from_url(URL(f"{scheme}://localhost/coatcheck"))
    except PluginError:
        raise
    except Exception as error:  # noqa: BLE001 - its URLs are of another shape
        pass_on_interruption(error)
    else:
        declared = made.capabilities
    return [str(each.name) for each in declared]


def _entries(registry: Registry, name: str) -> list[EntryPoint]:
    return entrypoints.named(registry.group, name)


def _passed_over() -> list[dict[str, Any]]:
    """Return the entry points that claim a builtin scheme. They are never used."""
    return [
        _described(
            entry.name,
            [entrypoints.owner(entry)],
            SchemeConflictError(entry.name, [f"coatcheck {__version__}", entrypoints.owner(entry)]),
            sync=None,
            asyncio=None,
        )
        for name in sorted(BUILTIN)
        for entry in _entries(SYNC, name)
    ]


def _configured() -> list[dict[str, str]]:
    from .._settings.configfile import load

    configuration = load()
    return [
        {"name": name, "url": masked(named.url), "file": configuration.where}
        for name, named in configuration.backends.items()
    ]


# -- for people -------------------------------------------------------------------------------


def _row(scheme: dict[str, Any]) -> tuple[str, ...]:
    sync, aio = scheme["sync"], scheme["asyncio"]
    capabilities = "" if sync is None else _words(sync["capabilities"])
    native = "" if aio is None else "threads" if aio["threads"] else "native"
    if native and sync is not None and sync["loop"]:
        native = "only"
    owners = " and ".join(scheme["distributions"])
    return scheme["scheme"], owners, capabilities, native, scheme["error"] or "ok"


def _words(capabilities: list[str] | None) -> str:
    return "by its URL" if capabilities is None else " ".join(capabilities).lower() or "none"


def _print(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    rows = [tuple(map(printable, row)) for row in rows]
    if not is_terminal(sys.stdout):
        for row in (headers, *rows):
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if console.width < _NARROW:
        for first, *others in rows:
            console.print(Text(first, style="bold"))
            for cell in filter(None, others):
                console.print(Padding(Text(cell, overflow="fold"), (0, 0, 0, 2)))
        return
    table = Table(*headers, box=box.SIMPLE_HEAD, header_style="bold", show_edge=False)
    for row in rows:
        # Text, so that words in brackets are not markup.
        *cells, last = (Text(cell, overflow="fold") for cell in row)
        if headers == _SCHEMES:
            last.stylize("green" if last.plain == "ok" else "red")
        table.add_row(*cells, last)
    console.print(table)
