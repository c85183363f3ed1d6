"""
The words that a shell offers for options and arguments. No I/O but for the configuration.
"""

from __future__ import annotations

import click

from .. import states
from ..errors import CoatcheckError


def backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the configured names and the schemes that start with *incomplete*."""
    del ctx, param
    from .._finding.registry import AIO, SYNC
    from .._settings.configfile import load

    try:
        names = list(load().backends)
    except (CoatcheckError, OSError):
        names = []  # the command itself reports it
    schemes = [f"{scheme}://" for scheme in sorted(SYNC.schemes() | AIO.schemes())]
    return [word for word in (*names, *schemes) if word.startswith(incomplete)]


def named_states(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the states that start with *incomplete*, in upper or lower case."""
    del ctx, param
    return [state for state in states.NAMED_STATES if state.startswith(incomplete.upper())]
