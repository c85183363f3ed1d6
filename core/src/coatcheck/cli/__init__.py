"""
The command line. Needs the extra `cli`; without it, this module prints how to install it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Final

#: The packages of the extra `cli`.
NEEDED: Final = ("click", "platformdirs", "rich")


def main(arguments: list[str] | None = None) -> int:
    """
    Run the command line and return its exit status.

    Args:
        arguments: the words behind the program's name; by default those of the process.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"coatcheck: the command line needs {' and '.join(missing)}: "
            "pip install 'coatcheck[cli]'\n"
        )
        return 2
    from .group import run

    return run(arguments)
