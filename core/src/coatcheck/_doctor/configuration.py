"""
Configuration that is ignored: variables that nobody reads, and files that another one hides.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from typing import Final

from .._backends.checkup import Finding, Level
from .._results.hooks import VARIABLE as PLUGINS_VARIABLE
from .._settings import configfile
from .._settings.config import DEFAULT_NAME, URL_VARIABLE, VARIABLES
from .._settings.options import CORE_OPTIONS

_PREFIX: Final = "COATCHECK_"
#: Variables of the tests.
_TESTING: Final = "COATCHECK_TESTING_"
_KNOWN: Final = (URL_VARIABLE, configfile.VARIABLE, PLUGINS_VARIABLE, *VARIABLES.values())


def ignored(name: str | None, *, files: bool) -> Iterator[Finding]:
    """
    Check the environment, and with *files* the configuration files for the backend *name*.
    """
    for variable in sorted(os.environ):
        known = variable in _KNOWN or variable.startswith(_TESTING)
        if variable.startswith(_PREFIX) and not known:
            near = difflib.get_close_matches(variable, _KNOWN, 1)
            remedy = f"did you mean {near[0]}?" if near else "unset it"
            yield _ignored(f"nothing reads the variable {variable}", remedy)
    if not files:
        return
    configuration = configfile.load()
    for path, reason in configfile.passed_over(configuration):
        yield _ignored(
            f"{path} is ignored: {reason}", "keep the configuration in one file of yours"
        )
    named = configuration.backends.get(DEFAULT_NAME) if name == DEFAULT_NAME else None
    if named is not None and os.environ.get(URL_VARIABLE):
        unread = ["url", *(option for option in named.options if option not in CORE_OPTIONS)]
        what = f"{URL_VARIABLE} overrides {' and '.join(unread)} of {named.where}"
        yield _ignored(what, f"unset {URL_VARIABLE}, or remove the table")


def _ignored(what: str, remedy: str) -> Finding:
    return Finding("configuration", Level.WARNING, what, remedy)
