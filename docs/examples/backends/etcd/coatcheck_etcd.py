"""
Keeps coatcheck's records in etcd: `etcd://localhost:2379/prefix`.

A transaction elects the record, a lease ends it, and a watch wakes those who wait. The backend speaks JSON to
the gateway of etcd 3.4 or later, where numbers are text, and zeros are left out.
"""

import json
import socket
from base64 import b64decode, b64encode
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException

import coatcheck
from coatcheck import plugin
from coatcheck.plugin import ANY, Capability, monotonic

#: etcd takes at most 128 operations in one transaction.
OPERATIONS = 100
CONNECTIONS = 8
NO_LEASE = "0"
ABSENT = {"target": "CREATE", "create_revision": "0"}


class RefusedError(Exception):
    """etcd answered with an error."""


#: The network, a broken answer, and etcd's own errors, such as a cluster without a leader.
ERRORS = (OSError, HTTPException, ValueError, RefusedError)


class Connection(HTTPConnection):
    """Connects when it is first used. Each step ends by a deadline on the monotonic clock."""

    def call(self, path, deadline, **message):
        if self.sock is None:
            self.sock = connected((self.host, self.port), left_until(deadline))
        self.sock.settimeout(left_until(deadline))
        self.request("POST", f"/v3/{path}", json.dumps(message))
        self.sock.settimeout(left_until(deadline))
        with self.getresponse() as response:
            answer = json.load(response)
        if response.status >= 400:
            raise RefusedError(answer.get("message"))
        return answer


def connected(place, seconds):
    # The system's own resolver would not keep to the time.
    address = plugin.lookups.addresses(*place, seconds)[0][4]
    opened = socket.create_connection(address[:2], seconds)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def left_until(deadline):
    return max(deadline - monotonic(), 0.001)


def encoded(data):
    return b64encode(data).decode()


def behind(prefix):
    """Return the first key behind all those that start with *prefix*."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def value_of(pair):
    return b64decode(pair.get("value", ""))


class EtcdBackend(coatcheck.KeyValueBackend):
    PROTOCOL_VERSION = 1
    capabilities = Capability.PUSH | Capability.TTL | Capability.SCAN | Capability.SHARED
    #: A lease lasts whole seconds, two at least, and etcd takes up to another one to end it.
    expires_resolution = 3.0
    #: A request may have 1.5 MiB by default, with the key in it.
    max_value_bytes = 1_500_000

    def __init__(self, place, prefix, operation_timeout):
        self.place = place
        self.prefix = prefix.encode()
        self.operation_timeout = operation_timeout
        self._pool = plugin.Pool(lambda: Connection(*place), Connection.close, limit=CONNECTIONS)
        self._repeats = plugin.Repeats(
            operation_timeout, errors=ERRORS, is_transient=lambda _error: True, mapped=self._mapped
        )
        plugin.forks.register(self._pool)  # its connections belong to one process

    @classmethod
    def from_url(cls, url, *, operation_timeout=5.0, options=None):
        plugin.read_options({**url.query, **(options or {})}, {}, where="etcd://")
        place = plugin.host_and_port(url, url.netloc, port=2379, path="prefix")
        return cls(place, f"{url.path.strip('/') or 'coatcheck'}/", operation_timeout)

    def close(self):
        self._pool.close()

    @property
    def trouble(self):
        return self._repeats.trouble

    def _mapped(self, error, *, writing=False):
        host, port = self.place
        return coatcheck.BackendUnavailableError(f"etcd://{host}:{port}: {error}")

    def _run(self, act, *, writing=False):
        """Return the result of *act*, which gets a function that calls etcd, and may be repeated."""

        def attempt(attempts):
            deadline = monotonic() + attempts.left

            def lent(connection):
                return act(partial(connection.call, deadline=deadline))

            return self._pool.lend(lent, attempts.left)

        return self._repeats.run(attempt, writing=writing)

    def _ask(self, path, *, writing=False, **message):
        return self._run(lambda call: call(path, **message), writing=writing)

    def _name(self, key):
        return encoded(self.prefix + key.encode())

    def keys_in(self, pairs):
        names = (b64decode(pair["key"]) for pair in pairs)
        return [name[len(self.prefix) :].decode(errors="replace") for name in names]

    def put(self, key, value, *, unless, if_match=None, expires):
        def write(call):
            lease = NO_LEASE if expires is None else call("lease/grant", TTL=int(expires) + 1)["ID"]
            won, unused = self._elect(call, key, value, lease, unless, if_match)
            if unused != NO_LEASE:  # or leases would pile up until they end
                call("lease/revoke", ID=unused)
            return won

        return self._run(write, writing=True)

    def _elect(self, call, key, value, lease, unless, if_match):
        """
        Return whether *value* is the record now, and the lease that is not needed any more.

        A transaction compares and writes. The first one expects no record. If there is one that may be
        replaced, the next expects exactly that, by its revision.
        """
        name = self._name(key)
        put = {"key": name, "value": encoded(value), "lease": lease, "prev_kv": True}
        expected = ABSENT if if_match is None else {"target": "VALUE", "value": encoded(if_match)}
        while True:
            answer = call(
                "kv/txn",
                compare=[{"key": name, "result": "EQUAL", **expected}],
                success=[{"request_put": put}],
                failure=[{"request_range": {"key": name}}],
            )
            if answer.get("succeeded"):
                replaced = answer["responses"][0]["response_put"].get("prev_kv", {})
                return True, replaced.get("lease", NO_LEASE)
            current = next(iter(answer["responses"][0]["response_range"].get("kvs", ())), None)
            if if_match is not None or not self._may_replace(current, unless):
                # A repeated write finds itself.
                return current is not None and value_of(current) == value, lease
            expected = ABSENT  # it has expired meanwhile
            if current is not None:
                expected = {"target": "MOD", "mod_revision": current["mod_revision"]}

    def _may_replace(self, current, unless):
        if current is None:
            return True
        return unless is not ANY and self.codec.state_of(value_of(current)) not in unless

    def get_many(self, keys):
        answers = self._of_each("range", keys)
        return {key: value_of(pair) for key, answer in answers for pair in answer.get("kvs", ())}

    def delete_many(self, keys):
        answers = self._of_each("delete_range", set(keys), writing=True)
        return sum(int(answer.get("deleted", 0)) for _, answer in answers)

    def _of_each(self, operation, keys, *, writing=False):
        """Do an operation on each key, many in one transaction. Iterate over keys and answers."""
        keys = list(keys)
        for start in range(0, len(keys), OPERATIONS):
            some = keys[start : start + OPERATIONS]
            wanted = [{f"request_{operation}": {"key": self._name(key)}} for key in some]
            answers = self._ask("kv/txn", success=wanted, writing=writing)["responses"]
            found = [answer[f"response_{operation}"] for answer in answers]
            yield from zip(some, found, strict=True)

    def scan(self, prefix=""):
        start = self.prefix + prefix.encode()
        wanted = {"range_end": encoded(behind(start)), "keys_only": True, "limit": 1000}
        more = True
        while more:
            answer = self._ask("kv/range", key=encoded(start), **wanted)
            pairs, more = answer.get("kvs", []), answer.get("more")
            yield from self.keys_in(pairs)
            start = b64decode(pairs[-1]["key"]) + b"\0" if more else start

    @contextmanager
    def watch(self, keys=()):
        bell = EtcdBell(self)
        try:
            bell.add(keys)
            yield bell
        finally:
            bell.close()


class EtcdBell(coatcheck.Bell):
    """
    Hears of all writes below the prefix, on one connection, and rings for its keys.

    Over HTTP a watch that runs takes no more keys, and a thousand waits should not need a thousand connections.
    """

    def __init__(self, backend):
        self._backend = backend
        self._stream = None
        self._received = b""
        self._keys = set()
        self._rang = set()
        self._backoff = plugin.Backoff()
        self._waker = plugin.Waker()

    @property
    def pushing(self):
        return self._stream is not None

    def add(self, keys):
        fresh = set(keys) - self._keys
        self._keys |= fresh
        self._subscribe()
        self._rang -= fresh  # they are read after this

    def discard(self, keys):
        self._keys -= set(keys)

    def wait(self, timeout):
        deadline = monotonic() + timeout
        while True:
            self._subscribe()
            left = deadline - monotonic()
            if self._rang or left <= 0:
                rang, self._rang = self._rang, set()
                return rang
            listening = [self._stream.fileno()] if self._stream else []
            seconds = left if listening else min(left, self._backoff.left)
            ready, woken = self._waker.sleep(listening, seconds)
            if ready:
                with self._guarded():
                    self._hear()
            if woken:
                deadline = 0.0

    def wake(self):
        self._waker.wake()

    def close(self):
        self._drop()
        self._waker.close()

    def _subscribe(self):
        if self._stream is None and not self._backoff.left:
            with self._guarded():
                self._open(self._backend.prefix)
                self._backoff.worked()
                self._rang |= self._keys  # records may have changed meanwhile

    def _open(self, prefix):
        end = encoded(behind(prefix))
        wanted = {"key": encoded(prefix), "range_end": end, "filters": ["NODELETE"]}
        body = json.dumps({"create_request": wanted})
        self._received = b""
        self._stream = connected(self._backend.place, self._backend.operation_timeout)
        # In HTTP/1.0 the answer has no chunks: lines of JSON, until the connection ends.
        head = f"POST /v3/watch HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        self._stream.sendall(f"{head}{body}".encode())
        while not self._hear():
            pass

    def _hear(self):
        """Read the lines that have arrived; return whether one of them confirms the watch."""
        data = self._stream.recv(1_000_000)
        if not data or b'"canceled":true' in data:
            raise ConnectionResetError("etcd ended the watch")
        *lines, self._received = (self._received + data).split(b"\n")
        told = [json.loads(line)["result"] for line in lines if line.startswith(b'{"result"')]
        for events in (answer.get("events", ()) for answer in told):
            self._rang |= self._keys.intersection(self._backend.keys_in(e["kv"] for e in events))
        return any(answer.get("created") for answer in told)

    @contextmanager
    def _guarded(self):
        """Drop the connection after an error, to try again later."""
        try:
            yield
        except ERRORS as error:
            plugin.pass_on_interruption(error)
            self._drop()
            self._backoff.failed()

    def _drop(self):
        if self._stream is not None:
            self._stream.close()
            self._stream = None
