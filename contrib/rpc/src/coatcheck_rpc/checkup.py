"""
The way to the broker by steps, for the doctor.
"""

from __future__ import annotations

from collections.abc import Sequence

from coatcheck.plugin import Checkup, Server

from .settings import Settings


class RPCCheckup(Checkup):
    """The checks of a broker: its nodes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def servers(self) -> Sequence[Server]:
        context = self._settings.ssl_context()
        return [Server.by_context(host, port, context) for host, port in self._settings.nodes]
