"""
The sources of options: keyword arguments, the URL's query, the environment, a file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Final

from .._coding.keys import is_reference
from ..errors import ConfigurationError
from .options import CORE_OPTIONS, KEY_OPTIONS, read_options
from .url import URL

#: Named backends: a mapping as the configuration file has it, or the file's path.
Config = Mapping[str, Any] | str | os.PathLike[str]

#: Names the URL of the default backend.
URL_VARIABLE: Final = "COATCHECK_URL"
#: The name of the backend to use if no name is given.
DEFAULT_NAME: Final = "default"
#: The variable of each option.
VARIABLES: Final = {name: f"COATCHECK_{name.upper()}" for name in CORE_OPTIONS}


def resolve_url(url: str | None) -> URL:
    """Return *url*, or the one that the environment names."""
    if url is None:
        url = os.environ.get(URL_VARIABLE)
        if not url:
            raise ConfigurationError(
                f"no backend is named: give by_url() a URL, or set {URL_VARIABLE}, for instance "
                "to sqlite:///results.db"
            )
    if not isinstance(url, str):
        raise ConfigurationError(f"a URL is a str, not {type(url).__name__}")
    return URL(url)


def split_options(
    url: URL,
    options: Mapping[str, Any],
    configured: Mapping[str, Any] | None = None,
    *,
    where: str = "",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Return the options of `Results` and those of the backend. The URL keeps only options of the backend.

    Keyword arguments override the URL's query, the query overrides the environment, and the environment
    overrides the options *configured* in the file that *where* names.
    """
    configured = configured or {}
    _refuse_secrets(url.query, f"the URL of {url.scheme}://")
    _refuse_secrets(configured, where)
    mine = read_options(
        core_options({**url.query, **options}), CORE_OPTIONS, where=f"{url.scheme}://"
    )
    mine |= _from_environment(mine)
    mine |= read_options(core_options(configured, without=mine), CORE_OPTIONS, where=where)
    rest = {name: value for name, value in configured.items() if name not in url.query}
    rest |= options
    for name in CORE_OPTIONS:
        url.query.pop(name, None)
        rest.pop(name, None)
    return mine, rest


def _refuse_secrets(options: Mapping[str, Any], where: str) -> None:
    """
    Refuse keys in a place where they would be copied and logged. A reference to the keys is allowed.
    """
    for name in KEY_OPTIONS:
        if name in options and not is_reference(options[name]):
            raise ConfigurationError(
                f"the option {name!r} of {where}: keys do not belong there; write env:NAME for an "
                "environment variable that holds them, or file:/path"
            )


def core_options(options: Mapping[str, Any], *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the *options* that all backends share."""
    return {k: v for k, v in options.items() if k in CORE_OPTIONS and k not in without}


def _from_environment(without: Collection[str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, variable in VARIABLES.items():
        text = None if name in without else os.environ.get(variable)
        if text:
            read |= read_options({name: text}, CORE_OPTIONS, where=variable)
    return read
