"""
Connections to the master that sentinels name. They are asked at every connect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from redis import exceptions

from coatcheck.plugin import Operation, drive, pass_on_interruption

from .connections import Connection, SSLConnection
from .errors import is_refused
from .parser import BoundedParser
from .script import Reply
from .settings import Node, Settings

#: Since redis-py 5.3 `connect` only calls `connect_check_health`, and so does the driver before it sends.
CHECKS_HEALTH: Final = hasattr(Connection, "connect_check_health")


class MasterConnection(Connection):
    """A connection whose host and port the sentinels name."""

    def __init__(self, *, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings

    if CHECKS_HEALTH:

        def connect_check_health(self, *args: Any, **options: Any) -> None:
            self._connect_to_master(partial(super().connect_check_health, *args, **options))

    else:

        def connect(self) -> None:
            self._connect_to_master(super().connect)

    def _connect_to_master(self, connect: Callable[[], None]) -> None:
        if self.is_connected:
            return
        self.host, self.port = drive(finding_master(self._settings), self._ask)
        connect()
        try:
            self.send_command("ROLE", check_health=False)
            check_role(self.read_response(), self._host_error())
        except exceptions.NoPermissionError:
            return  # then the sentinels' word must do
        except BaseException:
            self.disconnect()
            raise

    def _ask(self, sentinel: Node) -> Reply:
        settings = self._settings
        kind = SSLConnection if settings.tls else Connection
        options = {**settings.sentinel_connection, "parser_class": BoundedParser}
        connection = kind(host=sentinel[0], port=sentinel[1], **options)
        try:
            connection.send_command("SENTINEL", "MASTER", settings.master_name)
            return connection.read_response()
        except (exceptions.RedisError, OSError) as error:
            pass_on_interruption(error)
            return error
        finally:
            connection.disconnect()


class MasterTLSConnection(MasterConnection, SSLConnection):
    """The same with TLS, to the sentinels too."""


def finding_master(settings: Settings) -> Operation[Node, Node]:
    """Ask one sentinel after the other for the master. A reply may be an error."""
    errors: list[Exception] = []
    for sentinel in settings.nodes:
        reply = yield sentinel
        if not isinstance(reply, Exception):
            try:
                return _master_of(reply, settings.min_other_sentinels)
            except exceptions.ConnectionError as error:
                reply = error
        errors.append(reply)
    raise _no_master(errors)


def _master_of(reply: Sequence[bytes], min_other_sentinels: int) -> Node:
    state = {k.decode(): v.decode() for k, v in zip(reply[::2], reply[1::2], strict=True)}
    flags = set(state["flags"].split(","))
    if flags & {"s_down", "o_down", "disconnected"}:
        raise exceptions.ConnectionError(f"the master is {state['flags']}")
    if int(state["num-other-sentinels"]) < min_other_sentinels:
        raise exceptions.ConnectionError("the sentinel sees too few others")
    return state["ip"], int(state["port"])


def _no_master(errors: Sequence[Exception]) -> Exception:
    last = errors[-1]
    if all(map(is_refused, errors)):
        return type(last)(f"sentinel: {last}")
    if all(isinstance(error, exceptions.ResponseError) for error in errors):
        return exceptions.ResponseError(f"no sentinel knows this master: {last}")
    reasons = "; ".join(dict.fromkeys(map(str, errors)))
    return exceptions.ConnectionError(f"no sentinel names a master that is up: {reasons}")


def check_role(reply: Sequence[Reply], server: str) -> None:
    """
    Raise if *server* is not the master, although a sentinel said so. Other sentinels may know better.
    """
    if reply[0] != b"master":
        raise exceptions.ConnectionError(f"{server} is no longer the master")
