"""
A backend for the server in `server.py`.
"""

import json
import logging
import socket
from base64 import b64decode, b64encode
from contextlib import contextmanager
from functools import partial

import coatcheck
from coatcheck.plugin import (
    Backoff,
    Pool,
    Repeats,
    Waker,
    batches,
    forks,
    host_and_port,
    lookups,
    monotonic,
    pass_on_interruption,
    read_options,
)

PORT = 7878
CONNECTIONS = 8

logger = logging.getLogger("board")


# -- connection --
class Connection:
    """Connects when it is first used. Each step ends by a deadline on the monotonic clock."""

    def __init__(self, host, port):
        self._place = host, port
        self._socket = None
        self._received = b""

    def ask(self, deadline, do, **arguments):
        self.send(deadline, do, **arguments)
        return self.receive(deadline)

    def send(self, deadline, do, **arguments):
        if self._socket is None:
            self._connect(deadline)
        self._socket.settimeout(left_until(deadline))
        self._socket.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")

    def receive(self, deadline):
        while not self.has_line:
            self._socket.settimeout(left_until(deadline))
            data = self._socket.recv(1_000_000)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    @property
    def has_line(self):
        return b"\n" in self._received

    def _connect(self, deadline):
        addresses = lookups.addresses(*self._place, left_until(deadline))
        family, kind, protocol, _, address = addresses[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.settimeout(left_until(deadline))
        self._socket.connect(address)

    def fileno(self):
        return self._socket.fileno()

    def close(self):
        if self._socket is not None:
            self._socket.close()


def left_until(deadline):
    """Return the seconds left. Raise TimeoutError if none are."""
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("the server did not answer in time")
    return left


# -- backend --
class BoardBackend(coatcheck.KeyValueBackend):
    PROTOCOL_VERSION = 1
    capabilities = (
        coatcheck.Capability.PUSH | coatcheck.Capability.SCAN | coatcheck.Capability.SHARED
    )

    def __init__(self, host, port, operation_timeout):
        self.place = host, port
        self.operation_timeout = operation_timeout
        self._pool = Pool(lambda: Connection(host, port), Connection.close, limit=CONNECTIONS)
        self._repeats = Repeats(
            operation_timeout,
            errors=(OSError, ValueError),  # the network, or half of an answer
            is_transient=lambda _error: True,
            mapped=self.mapped,
        )
        forks.register(self)

    def after_fork(self):
        self._pool.after_fork()  # its connections belong to the parent

    @classmethod
    def from_url(cls, url, *, operation_timeout=5.0, options=None):
        read_options({**url.query, **(options or {})}, {}, where="board://")
        host, port = host_and_port(url, url.netloc, port=PORT, path="")
        return cls(host, port, operation_timeout)

    def close(self):
        self._pool.close()

    # -- repeats --
    @property
    def trouble(self):
        return self._repeats.trouble

    def _run(self, act, *, writing):
        def attempt(attempts):
            deadline = monotonic() + attempts.left
            return self._pool.lend(partial(act, deadline=deadline), attempts.left)

        return self._repeats.run(attempt, writing=writing)

    def mapped(self, error, *, writing=False):
        host, port = self.place
        return coatcheck.BackendUnavailableError(f"board://{host}:{port}: {error}")

    # -- operations --
    def put(self, key, value, *, unless, if_match=None, expires):
        new = b64encode(value).decode()

        def elect(lent, deadline):
            old = None if if_match is None else b64encode(if_match).decode()
            while True:
                answer = lent.ask(deadline, "swap", key=key, value=new, old=old, expires=expires)
                if answer["done"]:
                    return True
                old = answer["now"]
                if if_match is not None or not self._may_replace(old, unless):
                    return old == new  # a repeated write finds itself

        return self._run(elect, writing=True)

    def _may_replace(self, old, unless):
        if old is None:
            return True
        return unless is not coatcheck.ANY and self.codec.state_of(b64decode(old)) not in unless

    def get_many(self, keys):
        found = {}
        for batch in batches(keys):
            values = self._ask("get", keys=batch)["values"]
            found |= {key: b64decode(value) for key, value in values.items()}
        return found

    def delete_many(self, keys):
        return self._ask("delete", keys=list(keys), writing=True)["deleted"]

    def scan(self, prefix=""):
        return iter(self._ask("scan", prefix=prefix)["keys"])

    def purge(self):
        return self._ask("purge", writing=True)["purged"]

    def _ask(self, do, *, writing=False, **arguments):
        return self._run(partial(Connection.ask, do=do, **arguments), writing=writing)

    @contextmanager
    def watch(self, keys=()):
        bell = BoardBell(self)
        try:
            bell.add(keys)
            yield bell
        finally:
            bell.close()


# -- bell --
class BoardBell(coatcheck.Bell):
    """Listens on a connection of its own, and subscribes again when it breaks."""

    def __init__(self, backend):
        self._backend = backend
        self._connection = None
        self._keys = set()
        self._rang = set()
        self._backoff = Backoff()
        self._waker = Waker()

    @property
    def pushing(self):
        return self._connection is not None

    def add(self, keys):
        fresh = set(keys) - self._keys
        self._keys |= fresh
        if self._connection is None:
            self._subscribe()
        elif fresh:
            self._ask("watch", fresh)
        self._rang -= fresh  # the look at them comes after this

    def discard(self, keys):
        gone = self._keys.intersection(keys)
        self._keys -= gone
        if gone and self._connection is not None:
            self._ask("unwatch", gone)

    def wait(self, timeout):
        deadline = monotonic() + timeout
        while True:
            if self._connection is None:
                self._subscribe()
            left = deadline - monotonic()
            if self._rang or left <= 0:
                rang, self._rang = self._rang, set()
                return rang
            if self._connection is None:
                left = min(left, self._backoff.left)
            if self._heard(left):
                deadline = 0.0  # somebody called wake()

    def _heard(self, seconds):
        """Read data that comes within *seconds*; return whether that is a call of `wake`."""
        listening = () if self._connection is None else (self._connection.fileno(),)
        ready, woken = self._waker.sleep(listening, seconds)
        if ready:
            self._guarded(self._read)
        return woken

    def wake(self):
        self._waker.wake()

    def close(self):
        if self._connection is not None:
            self._connection.close()
        self._waker.close()

    def _subscribe(self):
        if self._backoff.left:
            return
        self._connection = Connection(*self._backend.place)
        if self._ask("watch", self._keys):
            self._backoff.worked()
            self._rang |= self._keys  # records may have changed meanwhile

    def _ask(self, do, keys):
        return self._guarded(lambda: self._confirmed(do, keys))

    def _confirmed(self, do, keys):
        deadline = monotonic() + self._backend.operation_timeout
        answer = self._connection.ask(deadline, do, keys=sorted(keys))
        while "rang" in answer:
            self._rang.add(answer["rang"])
            answer = self._connection.receive(deadline)
        if self._connection.has_line:  # a ring may have come together with the answer
            self._read()

    def _read(self):
        deadline = monotonic() + self._backend.operation_timeout
        while True:
            self._rang.add(self._connection.receive(deadline)["rang"])
            if not self._connection.has_line:
                return

    def _guarded(self, act):
        """Return whether *act* succeeded. Otherwise drop the connection, to try again later."""
        try:
            act()
        except (OSError, ValueError) as error:
            pass_on_interruption(error)
            logger.info("no subscription, polling for now: %s", self._backend.mapped(error))
            self._connection.close()
            self._connection = None
            self._backoff.failed()
            return False
        return True
