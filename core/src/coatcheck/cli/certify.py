"""
`coatcheck certify`: a backend's contract, run against a live store.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import click

from ..errors import ConfigurationError
from . import completing, exits
from .options import Common, common_options
from .text import is_terminal

if TYPE_CHECKING:
    from ..testing.certificate import Certificate

#: The packages of the extra `testing`.
_NEEDED: Final = ("hypothesis", "msgpack", "pytest")
_SUFFIXES: Final = (".html", ".json", ".txt")


@click.command()
@click.argument("url", metavar="URL", shell_complete=completing.backends)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the report to a file: text, JSON or HTML, by its suffix.",
)
@click.option("--quick", is_flag=True, help="Run only the few most telling tests.")
@click.option("--long", is_flag=True, help="Also run the tests that take minutes.")
@common_options
@click.pass_obj
def certify(common: Common, url: str, report: Path | None, *, quick: bool, long: bool) -> int:
    """
    Prove that a backend keeps its promises, on a live store.

    Runs the contract of both sides and prints a report: versions, each promise with its outcome,
    capabilities, latencies, and the tests left out with the reason. For each broken promise it shows
    the expectation, the failure, and the backend's operations.

    The tests touch no record of others. Their own have a random prefix of keys and are
    deleted at the end. A store without keys needs a URL that names an empty place, such as another table.

    \b
    The exit status is
      0  if all promises were kept
      1  if one was broken
      2  if the store cannot be reached, or has no place for the tests

    \b
    Examples:
      coatcheck certify redis://localhost/0
      coatcheck certify redis://localhost/0 --report redis.html
      coatcheck certify sqlite:///results.db --quick --json
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"certify needs {' and '.join(missing)}: pip install 'coatcheck[testing]'"
        )
    if report is not None and report.suffix not in _SUFFIXES:
        raise ConfigurationError(
            f"{report}: the suffix of a report is one of {', '.join(_SUFFIXES)}"
        )
    from ..testing.certify import certify as run

    with _Progress() as progress:
        found = run(url, quick=quick, long=long, progress=progress)
    if report is not None:
        report.write_text(_written(found, report.suffix), encoding="utf-8")
    click.echo(_written(found, ".json" if common.json else ".txt"), nl=False)
    return exits.SUCCESS if found.sound else exits.FAILURE


def _written(found: Certificate, suffix: str) -> str:
    if suffix == ".json":
        return json.dumps(found.as_data(), indent=2) + "\n"
    if suffix == ".html":
        from .certificate_html import as_html

        return as_html(found)
    from .certificate import as_text

    return as_text(found)


class _Progress:
    """A line in the terminal; elsewhere a line for each quarter of the tests."""

    def __init__(self) -> None:
        self._terminal = is_terminal(sys.stderr)
        self._quarter = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)

    def __call__(self, done: int, count: int, failed: int) -> None:
        said = f"{done} of {count} tests{f', {failed} failed' if failed else ''}"
        quarter = 4 * done // max(count, 1)
        if self._terminal:
            click.echo(f"\r\x1b[K{said}", nl=False, err=True)
        elif quarter > self._quarter:
            click.echo(f"coatcheck: {said}", err=True)
        self._quarter = quarter
