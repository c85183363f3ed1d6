"""
`coatcheck completion`: the script by which a shell completes commands, options, states and stores.
"""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

_SHELLS: Final = ("bash", "fish", "zsh")
#: The variable by which the script asks this program.
_VARIABLE: Final = "_COATCHECK_COMPLETE"


@click.command(
    epilog="""
\b
Examples:
  eval "$(coatcheck completion bash)"                 in ~/.bashrc
  eval "$(coatcheck completion zsh)"                  in ~/.zshrc, after compinit
  coatcheck completion fish > ~/.config/fish/completions/coatcheck.fish
"""
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """
    Print the script that makes a shell complete what you type.

    It completes commands, options, states, configured names of stores, and the schemes of URLs.
    Completion never connects to a store.
    """
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all three
    click.echo(made(ctx.find_root().command, {}, "coatcheck", _VARIABLE).source())
