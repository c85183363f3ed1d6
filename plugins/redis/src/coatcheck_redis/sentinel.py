"""
Connections to the master that sentinels name, looked up anew at every connect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from redis import exceptions

from coatcheck.plugin import pass_on_interruption

from .connections import Connection, SSLConnection
from .errors import is_refused
from .parser import BoundedParser
from .settings import Node, Settings

#: Since redis-py 5.3 `connect` only calls this, and so does the driver before it sends.
CHECKS_HEALTH: Final = hasattr(Connection, "connect_check_health")


class MasterConnection(Connection):
    """
    A connection whose host and port are the sentinels' to say.
    """

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
        self.host, self.port = self._find_master()
        connect()
        try:
            self.send_command("ROLE", check_health=False)
            check_role(self.read_response(), self._host_error())
        except exceptions.NoPermissionError:
            return  # then the sentinels' word is all there is
        except BaseException:
            self.disconnect()
            raise

    def _find_master(self) -> Node:
        errors: list[Exception] = []
        for place in self._settings.nodes:
            try:
                return self._ask(place)
            except (exceptions.RedisError, OSError) as error:
                pass_on_interruption(error)
                errors.append(error)
        raise no_master(errors)

    def _ask(self, place: Node) -> Node:
        settings = self._settings
        kind = SSLConnection if settings.tls else Connection
        options = {**settings.sentinel_connection, "parser_class": BoundedParser}
        connection = kind(host=place[0], port=place[1], **options)
        try:
            connection.send_command("SENTINEL", "MASTER", settings.master_name)
            return master_of(connection.read_response(), settings.min_other_sentinels)
        finally:
            connection.disconnect()


class MasterTLSConnection(MasterConnection, SSLConnection):
    """
    The same with TLS, to the sentinels too.
    """


def master_of(reply: list[bytes], min_other_sentinels: int) -> Node:
    """
    Return where the master is, of which a sentinel told.
    """
    state = {k.decode(): v.decode() for k, v in zip(reply[::2], reply[1::2], strict=True)}
    flags = set(state["flags"].split(","))
    if flags & {"s_down", "o_down", "disconnected"}:
        raise exceptions.ConnectionError(f"the master is {state['flags']}")
    if int(state["num-other-sentinels"]) < min_other_sentinels:
        raise exceptions.ConnectionError("the sentinel sees too few others")
    return state["ip"], int(state["port"])


def check_role(reply: list[Any], place: str) -> None:
    """
    Raise if a server that a sentinel calls the master is none: others know better by now.
    """
    if reply[0] != b"master":
        raise exceptions.ConnectionError(f"{place} is no longer the master")


def no_master(errors: list[Exception]) -> Exception:
    """
    Return the error for sentinels none of which named a master.
    """
    last = errors[-1]
    if all(map(is_refused, errors)):
        return type(last)(f"sentinel: {last}")
    if all(isinstance(error, exceptions.ResponseError) for error in errors):
        return exceptions.ResponseError(f"no sentinel knows this master: {last}")
    reasons = "; ".join(dict.fromkeys(map(str, errors)))
    return exceptions.ConnectionError(f"no sentinel names a master that is up: {reasons}")
