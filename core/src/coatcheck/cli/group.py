"""
The command group, and the behaviour that all commands share: errors on one line, exit statuses.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from importlib import import_module
from typing import Any, Final

import click

from .. import __version__
from ..errors import CoatcheckError
from . import exits
from .options import common_options
from .text import say

#: Where each command is; imported when it is used.
_COMMANDS: Final = {
    "backends": "backends:backends",
    "certify": "certify:certify",
    "completion": "completion:completion",
    "doctor": "doctor:doctor",
    "events": "events:events",
    "forget": "forget:forget",
    "get": "show:get",
    "list": "listing:list_",
    "migrate": "migrate:migrate",
    "new-backend": "new_backend:new_backend",
    "purge": "forget:purge",
    "reap": "reap:reap",
    "revoke": "revoke:revoke",
    "run": "run:run",
    "serve": "serve:serve",
    "stats": "stats:stats",
    "version": "version:version",
    "wait": "wait:wait",
    "watch": "watch:watch",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        # Here and not around main(): click has an answer of its own to a broken pipe.
        try:
            status = super().invoke(ctx)
            _flush()
        except BrokenPipeError:
            _abandon_output()
            return exits.BROKEN_PIPE
        except KeyboardInterrupt:
            return exits.INTERRUPTED
        except CoatcheckError as error:
            return _fail(str(error))
        except OSError as error:
            return _fail(error.strerror or str(error))
        return status


def _fill_standard_descriptors() -> None:
    # Where one is closed, the next file or socket would take its number, and our output.
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)


def _flush() -> None:
    if sys.stdout is not None:  # closed by whoever started us
        sys.stdout.flush()


def _abandon_output() -> None:
    # The interpreter flushes once more at its end, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    say(message)
    return exits.ERROR


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 90},
    epilog=exits.HELP,
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@common_options
@click.pass_context
def coatcheck(ctx: click.Context) -> int | None:
    """
    Run commands as tasks, and read and await the results of tasks.

    The store is that of --backend, else of the variable COATCHECK_URL, else the backend "default"
    of coatcheck.toml or pyproject.toml, else a file in the user's data directory.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return exits.ERROR
    return None


def run(arguments: list[str] | None) -> int:
    """Run the command line and return its exit status; a user's mistake is one line on stderr."""
    _fill_standard_descriptors()
    logging.getLogger("coatcheck").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        # Stored text may hold characters that the terminal's encoding, or any encoding, lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = coatcheck.main(arguments, prog_name="coatcheck", standalone_mode=False)
    except click.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see: {context.command_path} --help)" if context is not None else ""
        return _fail(error.format_message() + hint)
    return status if isinstance(status, int) else exits.SUCCESS
