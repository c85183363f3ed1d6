"""
The way to the broker by steps, for the doctor.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from functools import partial

from coatcheck.plugin import Checkup, Server

from .settings import Settings


class RPCCheckup(Checkup):
    """The checks of a broker: its nodes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def servers(self) -> Sequence[Server]:
        context = self._settings.ssl_context()

        def tls(host: str) -> Callable[..., ssl.SSLSocket] | None:
            return partial(context.wrap_socket, server_hostname=host) if context else None

        return [Server(host, port, tls(host)) for host, port in self._settings.nodes]
