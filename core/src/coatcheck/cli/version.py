"""
`coatcheck version`.
"""

from __future__ import annotations

import json
import platform

import click

from .. import __version__
from .options import Common, common_options


@click.command(
    epilog="""
\b
Examples:
  coatcheck version
  coatcheck version --json              that of Python, too
""",
)
@common_options
@click.pass_obj
def version(common: Common) -> None:
    """Print the version."""
    if common.json:
        click.echo(json.dumps({"coatcheck": __version__, "python": platform.python_version()}))
    else:
        click.echo(f"coatcheck {__version__}")
