"""
Limits for a configuration file that nobody named: one that was found from the working directory
upwards. It may belong to somebody else.

Such a file may name a store and say how records are kept. It may not decide whom to trust, because any
command that is run in the directory would follow it: it may not choose keys, files or imports, or let
records be read as code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import ConfigurationError
from .options import OPTIONS
from .url import URL

#: Options of backends and drivers that name files to read, code to import, or weaken the connection.
_SUSPECT: Final = re.compile(
    r"file|path|dir|cert|key|crl|(ssl|tls).*ca|infile|plugin|driver|dialect|module|class|provider|"
    r"service|import|init|command|allow|invalid|insecure|verify|check_hostname|credential|auth|codec"
)
#: Prefixes of a dialect's name. A driver's name may follow the dialect.
_PREFIXES: Final = ("db+", "database+", "coatcheck+")
_REFERENCE: Final = re.compile(r"(env|file):")


def check(
    url: str | None, options: Mapping[str, Any], where: str, *, knows: Callable[[str], bool]
) -> None:
    """
    Raise `ConfigurationError` for a URL or an option that a found file may not give.

    *where* names the file and the table; *knows* returns whether a scheme belongs to a backend.
    """
    try:
        parsed = URL("none:" if url is None else url)
    except ConfigurationError:
        return  # nobody can open it, and whoever tries is told why
    for name, value in (*options.items(), *parsed.query.items()):
        if not _is_harmless(name, value):
            raise _refusal(where, f"the option {name!r}")
    scheme = parsed.scheme
    for prefix in _PREFIXES:
        scheme = scheme.removeprefix(prefix)
    if "+" in scheme and not knows(scheme):
        raise _refusal(where, f"a driver, as in {scheme!r}")


def _is_harmless(name: str, value: Any) -> bool:
    option = OPTIONS.get(name)
    if option is not None:
        try:
            return option.harmless is None or option.harmless(value)
        except (TypeError, ValueError):
            return False
    reference = isinstance(value, str) and _REFERENCE.match(value) is not None
    return not reference and _SUSPECT.search(name.lower()) is None


def _refusal(where: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{where}: {what} says whom to trust, and the file was only found, from the working "
        "directory upwards: name the file in COATCHECK_CONFIG, or give the option in the environment "
        "or in code"
    )
