"""
Options that every command has, and the store they choose.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from .._settings.config import DEFAULT_NAME, URL_VARIABLE
from .._settings.url import masked
from ..errors import ConfigurationError
from . import completing

if TYPE_CHECKING:
    from .._results.results import Results

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Common:
    """The options that every command has, before or after the command's name."""

    backend: str | None = None
    json: bool = False

    @cached_property
    def name(self) -> str | None:
        """The configured name, or the scheme, that was chosen; `None` where it is a URL."""
        if self.backend is not None:
            is_url = not self.backend or ":" in self.backend or "/" in self.backend
            return None if is_url else self.backend
        from .._settings.configfile import load

        is_configured = os.environ.get(URL_VARIABLE) or DEFAULT_NAME in load().backends
        return DEFAULT_NAME if is_configured else None

    @cached_property
    def url(self) -> str:
        """
        The URL that the options, the environment, the configuration, or nobody, chose; secrets
        included.
        """
        if self.name is not None:
            from .._finding.registry import SYNC
            from .._finding.resolver import choose

            return choose(self.name, None, SYNC).url
        return default_url() if self.backend is None else self.backend

    @property
    def store(self) -> str:
        """The URL as it may be shown."""
        return masked(self.url)

    def open(self, **options: Any) -> Results:
        """Return the `Results` of the store, with *options* besides. No connection."""
        from .._api import by_name, by_url

        if self.name is None:
            return by_url(self.url, **options)
        return by_name(self.name, **options)


def common_options(command: F) -> F:
    """
    Add the options of `Common` to *command*. Options behind the command's name override those before it.
    """
    for option in (
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=_set,
            help="Print JSON, for programs.",
        ),
        click.option(
            "--backend",
            metavar="URL|NAME",
            shell_complete=completing.backends,
            expose_value=False,
            callback=_set,
            help="The store: a URL such as sqlite:///results.db, or a configured name.",
        ),
    ):
        command = option(command)
    return command


def _set(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    common = ctx.ensure_object(Common)
    if value is not None and value is not False:
        setattr(common, str(param.name), value)


def default_url() -> str:
    """Return the URL of the user's own store, in a directory that only the user can read."""
    from platformdirs import user_data_path

    directory = user_data_path("coatcheck", appauthor=False)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the default store cannot be made: {directory}: {error.strerror}; "
            f"name another one with --backend or {URL_VARIABLE}"
        ) from error
    return f"sqlite:///{quote((directory / 'results.db').as_posix())}"
