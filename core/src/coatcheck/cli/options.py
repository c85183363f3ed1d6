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

from ..config import URL_VARIABLE
from ..errors import ConfigurationError
from ..url import masked

if TYPE_CHECKING:
    from ..results import Results

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Common:
    """
    The options that every command has, before or after the command's name.
    """

    backend: str | None = None
    json: bool = False

    @cached_property
    def url(self) -> str:
        """
        The URL that the options, the environment, or nobody, chose; secrets included.
        """
        if self.backend is not None:
            return self.backend
        return os.environ.get(URL_VARIABLE) or default_url()

    @property
    def store(self) -> str:
        """
        The URL as it may be shown.
        """
        return masked(self.url)

    def open(self) -> Results:
        """
        Return the `Results` for the URL. No connection.
        """
        from ..resolver import by_url

        return by_url(self.url)


def common_options(command: F) -> F:
    """
    Add the options of `Common` to *command*; what is given behind the command's name counts.
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
            metavar="URL",
            expose_value=False,
            callback=_set,
            help="The store, such as sqlite:///results.db.",
        ),
    ):
        command = option(command)
    return command


def _set(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    common = ctx.ensure_object(Common)
    if value is not None and value is not False:
        setattr(common, str(param.name), value)


def default_url() -> str:
    """
    Return the URL of the user's own store, in a directory that only the user can read.
    """
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
