"""
`coatcheck doctor`: the faults of a store, and the remedy for each.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import click

from .._backends.checkup import Finding, Level
from .._settings.url import masked
from ..errors import ConfigurationError
from . import completing
from .options import Common, common_options
from .text import is_terminal, one_line

_HEADERS: Final = ("LEVEL", "CHECK", "TOOK", "FINDING", "REMEDY")
#: The colours of levels in a terminal.
_STYLES: Final[dict[Level, dict[str, Any]]] = {
    Level.UNCHECKED: {"fg": "bright_black"},
    Level.SOUND: {"fg": "green"},
    Level.WARNING: {"fg": "yellow"},
    Level.BROKEN: {"fg": "red", "bold": True},
}
_INDENT: Final = 25


@click.command(
    epilog="""
\b
Examples:
  coatcheck doctor                        the store that other commands use
  coatcheck doctor sqlite:///results.db   a store by its URL
  coatcheck doctor audit --json           a configured one, for a program
"""
)
@click.argument("store", metavar="[URL|NAME]", required=False, shell_complete=completing.backends)
@common_options
@click.pass_obj
def doctor(common: Common, store: str | None) -> int:
    """
    Check the store and its configuration, and name the remedy for each fault.

    Looks for the servers step by step; stores, fetches and forgets a record of its own, and listens for
    one; checks the settings that matter for results; and reads up to 1,000 records. Changes nothing else.

    The exit status is 0 for a sound store, 1 for warnings, 2 for a broken store. With --json prints one
    JSON object.
    """
    if store is not None and common.backend is not None:
        raise click.UsageError("give the store as the argument or by --backend, not by both")
    common.backend = common.backend or store
    findings = []
    if not common.json and not is_terminal(sys.stdout):
        click.echo("\t".join(_HEADERS))
    for finding in _found(common):
        findings.append(finding)
        if not common.json:
            _show(finding)
    level = max([Level.SOUND, *(finding.level for finding in findings)])
    if common.json:
        click.echo(json.dumps(_document(common, level, findings)))
    return level


def _found(common: Common) -> Iterator[Finding]:
    from .._doctor import configuration, examining

    try:
        name = common.name
        yield from configuration.ignored(name, files=name is not None or common.backend is None)
        with common.open() as results:
            yield from examining.examine(results)
    except ConfigurationError as error:
        yield Finding(
            "configuration",
            Level.BROKEN,
            str(error),
            "correct the option, the name or the file in the message",
        )


def _document(common: Common, level: Level, findings: list[Finding]) -> dict[str, Any]:
    try:
        store = common.store
    except ConfigurationError:  # which is among the findings
        store = masked(common.backend or "")
    rows = [one._asdict() | {"level": one.level.name.lower()} for one in findings]
    return {"store": store, "level": level.name.lower(), "findings": rows}


def _show(finding: Finding) -> None:
    level, check = finding.level.name.lower(), one_line(finding.check)
    took = "" if finding.seconds is None else f"{finding.seconds * 1000:.1f} ms"
    what, remedy = one_line(finding.what), one_line(finding.remedy)
    if not is_terminal(sys.stdout):
        click.echo(f"{level}\t{check}\t{took}\t{what}\t{remedy}")
        return
    text = _wrapped(f"{what} ({took})" if took else what)
    click.echo(f"{click.style(f'{level:10}', **_STYLES[finding.level])} {check:13} {text}")
    if remedy:
        click.echo(" " * _INDENT + _wrapped(f"-> {remedy}"))


def _wrapped(text: str) -> str:
    width = max(shutil.get_terminal_size().columns - _INDENT, _INDENT)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * _INDENT).join(lines)
