"""
Named backends, as `coatcheck.toml`, `pyproject.toml` or a mapping defines them.

::

    [backends.default]
    url = "redis://localhost:6379/1"
    expires = 3600

In `pyproject.toml` the table is `[tool.coatcheck.backends.default]`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..errors import ConfigurationError
from .config import Config

#: Names the file to read.
VARIABLE: Final = "COATCHECK_CONFIG"
FILE: Final = "coatcheck.toml"
PROJECT: Final = "pyproject.toml"
_KEYS: Final = ("backends",)


class Named(NamedTuple):
    """A configured backend. `where` is for messages, and names the file and the table."""

    url: str
    options: Mapping[str, Any]
    where: str


class Configuration:
    """
    The named backends of one file or mapping. `where` names the file, and is empty without one. `found` is
    true if the file was found and not named by the user.
    """

    def __init__(self, tables: Mapping[str, Any], where: str, *, found: bool = False) -> None:
        self.where = where
        self.found = found
        self.backends = {
            name: self._named(name, table) for name, table in self._backends(tables).items()
        }

    def _backends(self, tables: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in tables:
            if key not in _KEYS:
                raise ConfigurationError(f"{self.where}: {unknown('key', key, _KEYS)}")
        backends = tables.get("backends", {})
        if not isinstance(backends, Mapping):
            raise ConfigurationError(
                f"{self.where}: backends has to be a table of tables: [backends.default]"
            )
        return backends

    def _named(self, name: str, table: Any) -> Named:
        where = f"backends.{name} of {self.where}"
        if not isinstance(table, Mapping):
            raise ConfigurationError(f'{where}: write a table with url = "..."')
        options = dict(table)
        url = options.pop("url", None)
        if not isinstance(url, str) or not url:
            raise ConfigurationError(f'{where}: it needs url = "...", such as "sqlite:///x.db"')
        return Named(url, options, where)


def load(config: Config | None = None) -> Configuration:
    """Return the configuration in *config*, or in the file that is found."""
    if isinstance(config, Mapping):
        return Configuration(config, "the given configuration")
    if config is not None:
        return _read(Path(config))
    named = os.environ.get(VARIABLE)
    if named:
        return _read(Path(named), f"the file that {VARIABLE} names cannot be read: ")
    return _find()


def _find() -> Configuration:
    """Return the configuration in the nearest file, from the working directory upwards."""
    for path in _candidates():
        tables = _tables(path)
        if tables is not None:
            return Configuration(tables, str(path), found=True)
    return Configuration({}, "")


def _candidates() -> Iterator[Path]:
    return filter(_is_ours, _files())


def _files() -> Iterator[Path]:
    try:
        directory = Path.cwd()
    except OSError:  # it was deleted
        return
    for parent in (directory, *directory.parents):
        for name in (FILE, PROJECT):
            path = parent / name
            if path.is_file():
                yield path


def passed_over(configuration: Configuration) -> Iterator[tuple[Path, str]]:
    """
    Iterate over the files that users may believe are read and *configuration* is not from, each with the
    reason.
    """
    used = Path(configuration.where)
    for path in _files():
        if not _is_ours(path):
            yield path, "another user may have put it there, where anybody may write"
        elif path == used:
            other = path.with_name(PROJECT)
            if other != path and other.is_file() and _tables(other) is not None:
                yield other, f"{FILE} is next to it"
            return


def _is_ours(path: Path) -> bool:
    """
    Return whether no other user could have put the file there, as in /tmp: it may name any store, and
    serializers to accept from it.
    """
    if not hasattr(os, "geteuid"):
        return True
    anybody_writes = path.parent.stat().st_mode & 0o002
    return not anybody_writes or path.stat().st_uid in (0, os.geteuid())


def _read(path: Path, otherwise: str = "") -> Configuration:
    tables = _tables(path, otherwise)
    return Configuration({} if tables is None else tables, str(path))


def _tables(path: Path, otherwise: str = "") -> Mapping[str, Any] | None:
    """Return the tables of the file; `None` for a `pyproject.toml` without ours."""
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{otherwise}{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    if path.name != PROJECT:
        return tables
    tool = tables.get("tool")
    ours = tool.get("coatcheck") if isinstance(tool, Mapping) else None
    if ours is not None and not isinstance(ours, Mapping):
        raise ConfigurationError(f"{path}: tool.coatcheck has to be a table")
    return ours


def unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    """Return a message that *name* is unknown, with the nearest known one."""
    near = difflib.get_close_matches(name, known, 1)
    return f"unknown {what} {name!r}: " + (
        f"did you mean {near[0]!r}?" if near else f"there is {' and '.join(known)}"
    )
