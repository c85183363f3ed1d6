"""
`coatcheck serve`: tasks over HTTP, by the distribution coatcheck-web.
"""

from __future__ import annotations

import click

from .._runtime import entrypoints
from ..errors import PluginError
from .options import Common, common_options

_GROUP = "coatcheck.web"


@click.command(
    epilog="""
\b
Examples:
  coatcheck serve                                  http://127.0.0.1:8765/tasks
  coatcheck serve --backend live --port 9000       tasks of another store
  coatcheck serve --writable                       tasks can be revoked and forgotten
  COATCHECK_TOKEN=... coatcheck serve --host 0.0.0.0
""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option(
    "--token",
    envvar="COATCHECK_TOKEN",
    help="Clients must send this text, as Authorization: Bearer TOKEN. Other users of this machine "
    "see options, but not the variable COATCHECK_TOKEN.",
)
@click.option("--writable", is_flag=True, help="Clients may also revoke and forget tasks.")
@common_options
@click.pass_obj
def serve(common: Common, host: str, port: int, token: str | None, writable: bool) -> None:  # noqa: FBT001
    """
    Show tasks over HTTP: their status, long polling, and their events as a stream.

    Without a token only clients on this machine are served. Needs coatcheck[web].
    """
    found = entrypoints.named(_GROUP, "run")
    if not found:
        raise PluginError("serve needs the package coatcheck-web: pip install 'coatcheck[web]'")
    run = entrypoints.load(found[0])

    from .. import aio

    results = aio.by_url(common.url) if common.name is None else aio.by_name(common.name)
    run(results, host=host, port=port, token=token or None, writable=writable)
