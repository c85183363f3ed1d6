"""
`coatcheck new-backend`: a package with a backend that works, for its author to change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .._finding.hints import KNOWN_GROUP
from .._finding.registry import AIO, BUILTIN, SYNC
from .._runtime import entrypoints
from ..errors import ConfigurationError
from .options import Common, common_options

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
#: The suffix of the files of the template, which are no modules of coatcheck.
_SUFFIX: Final = ".in"


@click.command(
    name="new-backend",
    epilog="""
\b
Examples:
  coatcheck new-backend acme            a package in coatcheck-acme
  coatcheck new-backend acme plugins/acme
  cd coatcheck-acme && pip install -e ".[tests]" && pytest
""",
)
@click.argument("name", metavar="NAME")
@click.argument("directory", metavar="[DIRECTORY]", required=False, type=click.Path(path_type=Path))
@common_options
@click.pass_obj
def new_backend(common: Common, name: str, directory: Path | None) -> None:
    """
    Write a package with a new backend, for URLs that begin with NAME://.

    The backend works from the first day. It keeps records on a small TCP server of its own, which you
    replace by a real one, and has a side for synchronous code and one for asyncio. The package has the
    proof of both sides, a noxfile, and a workflow for CI. DIRECTORY is coatcheck-NAME by default and
    must not exist, or must be empty.
    """
    _check(name)
    directory = directory or Path(f"coatcheck-{name}")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError(f"{directory} is there already: nothing was written")
    words = {
        "coatcheck_mystore": f"coatcheck_{name.replace('-', '_')}",
        "MyStore": "".join(part.capitalize() for part in name.split("-")),
        "mystore": name,
    }
    for path, text in _template():
        target = directory / _replaced(path, words)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_replaced(text, words), encoding="utf-8")
    if common.json:
        click.echo(json.dumps({"directory": str(directory), "scheme": name}))
        return
    click.echo(f"{directory}: a backend for {name}:// and its proof")
    click.echo(f'Next: cd {directory} && pip install -e ".[tests]" && pytest')


def _check(name: str) -> None:
    if not _NAME.match(name):
        raise ConfigurationError(
            f"{name!r} is no name for a backend: write small letters, digits and hyphens, such as acme-kv"
        )
    known = {entry.name for entry in entrypoints.all_of(KNOWN_GROUP)}
    if name in known.union(BUILTIN, SYNC.schemes(), AIO.schemes()):
        raise ConfigurationError(f"there is a backend for {name}:// already: choose another name")


def _template() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file."""
    root = files("coatcheck.testing") / "template"
    yield from _below(root, "")


def _below(directory: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in directory.iterdir():
        name = re.sub("^dot_", ".", entry.name)
        if entry.is_dir():
            yield from _below(entry, f"{path}{name}/")
        elif name.endswith(_SUFFIX):
            yield path + name.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")


def _replaced(text: str, words: dict[str, str]) -> str:
    for word, replacement in words.items():
        text = text.replace(word, replacement)
    return text
