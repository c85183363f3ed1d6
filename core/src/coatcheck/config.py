"""
Where options come from: keyword arguments, the URL's query, the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from .errors import ConfigurationError
from .url import BACKEND_OPTIONS, RESULTS_OPTIONS, URL, read_options

#: Names the URL of the default backend.
URL_VARIABLE: Final = "COATCHECK_URL"


def resolve_url(url: str | None) -> URL:
    """
    Return *url*, or the one that the environment names.
    """
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
    url: URL, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """
    Return the options of `Results`, the operation timeout if given, and those of the backend.

    Keyword arguments go over the URL's query. The URL keeps what belongs to the backend.
    """
    where = f"{url.scheme}://"
    given = {**url.query, **options}
    known = {**RESULTS_OPTIONS, **BACKEND_OPTIONS}
    mine = read_options({k: v for k, v in given.items() if k in known}, known, where=where)
    for name in known:
        url.query.pop(name, None)
    rest = {name: value for name, value in options.items() if name not in known}
    timeout = {k: mine.pop(k) for k in BACKEND_OPTIONS if k in mine}
    return mine, timeout, rest
