"""
A TCP proxy that disturbs connections and their replies.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

_CHUNK = 65_536
#: Linger no time: closing sends a reset instead of an end.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes on the connections to `port` of 127.0.0.1, and disturbs them on demand. In threads."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        #: Those of whose two threads one has ended.
        self._left: set[tuple[socket.socket, socket.socket]] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._delay = 0.0
        self._forgotten: set[tuple[socket.socket, socket.socket]] = set()
        self._pause = 0.0
        self._rate = 0.0
        # By direction: one line for all connections.
        self._lines = (threading.Lock(), threading.Lock())
        #: How many bytes were passed on to clients, and to the server.
        self.passed: list[int] = [0, 0]
        self._to_drop = 0
        self._to_truncate = 0
        self._refusing = False
        self._closed = False
        #: How many replies were dropped, and truncated.
        self.dropped: int = 0
        self.truncated: int = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.2)  # a closed listener does not always end an accept
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, function: object, *args: object) -> None:
        threading.Thread(
            target=function,  # type: ignore[arg-type]
            args=args,
            name="proxy",
            daemon=True,
        ).start()

    # -- trouble --------------------------------------------------------------------------

    def cut(self) -> None:
        """Cut all connections; accept new ones."""
        for pair in self._open_pairs():
            self._hang_up(pair)

    def reset(self) -> None:
        """Reset all connections, with the loss of data on its way; accept new ones."""
        for pair in self._open_pairs():
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._hang_up(pair, orderly=False)

    def _open_pairs(self) -> list[tuple[socket.socket, socket.socket]]:
        with self._lock:
            return list(self._pairs)

    def delay(self, seconds: float) -> None:
        """Hold back every piece of data, in both directions."""
        self._delay = seconds

    def spread(self, seconds: float) -> None:
        """Pass on replies byte by byte, with a pause of *seconds* before each; 0 ends that."""
        self._pause = seconds

    def slow_down(self, rate: float) -> None:
        """
        Pass on at most *rate* bytes a second in each direction, over all connections; 0 sets no
        limit.
        """
        self._rate = rate

    def forget(self) -> None:
        """
        Pass on nothing more on open connections, as a NAT does after a long silence. New ones
        work.
        """
        with self._lock:
            self._forgotten |= self._pairs

    def stall(self) -> None:
        """Pass on nothing, but accept connections."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on all data again, first the data held back."""
        self._flowing.set()

    def drop_replies(self, count: int) -> None:
        """Drop the next *count* replies, each with its connection. The requests went through."""
        with self._lock:
            self._to_drop = count

    def truncate_replies(self, count: int) -> None:
        """Pass on the first half of each of the next *count* replies, and cut its connection."""
        with self._lock:
            self._to_truncate = count

    def refuse(self) -> None:
        """Cut all connections, and those to come."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Accept connections again."""
        self._refusing = False

    def close(self) -> None:
        self._closed = True
        self.resume()
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- the flow -------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        client.settimeout(None)
        try:
            if self._refusing:
                raise ConnectionRefusedError
            server = socket.create_connection(self._upstream, timeout=30)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = (client, server)
        for end in pair:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.add(pair)
        self._start(self._pump, pair, client, server)
        self._start(self._pump, pair, server, client)

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        target: socket.socket,
    ) -> None:
        is_reply = source is pair[1]
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._flowing.wait()
                if pair in self._forgotten:
                    continue
                if self._rate:
                    with self._lines[is_reply]:
                        time.sleep(len(data) / self._rate)
                if self._delay:
                    time.sleep(self._delay)
                if is_reply and self._drops():
                    break
                if is_reply and self._truncates():
                    target.sendall(data[: len(data) // 2])
                    break
                if is_reply and self._pause:
                    data = self._spread(target, data)
                target.sendall(data)
                self.passed[not is_reply] += len(data)
        self._leave(pair)

    def _leave(self, pair: tuple[socket.socket, socket.socket]) -> None:
        """
        End one direction, and the other with it, unless the connection is forgotten: then nobody
        learns of the end.
        """
        if pair not in self._forgotten:
            self._hang_up(pair)
        with self._lock:
            is_last = pair in self._left
            self._left ^= {pair}
        if is_last:
            self._hang_up(pair)
            for end in pair:
                end.close()

    def _spread(self, target: socket.socket, data: bytes) -> bytes:
        """Send *data* byte by byte while that is wanted; return the rest."""
        for number in range(len(data)):
            if not self._pause:
                return data[number:]
            time.sleep(self._pause)
            target.sendall(data[number : number + 1])
        return b""

    def _drops(self) -> bool:
        with self._lock:
            if self._to_drop < 1:
                return False
            self._to_drop -= 1
            self.dropped += 1
            return True

    def _truncates(self) -> bool:
        with self._lock:
            if self._to_truncate < 1:
                return False
            self._to_truncate -= 1
            self.truncated += 1
            return True

    def _hang_up(self, pair: tuple[socket.socket, socket.socket], *, orderly: bool = True) -> None:
        with self._lock:
            if pair not in self._pairs:
                return  # somebody else did
            self._pairs.discard(pair)
            self._forgotten.discard(pair)
            for end in pair:
                # Wakes the other thread, which a close alone would not. Receiving only, where the
                # other side must not learn of an end.
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR if orderly else socket.SHUT_RD)
                # Closes the connection and keeps its descriptor: a thread that is about to receive
                # would otherwise receive from the next owner of that number.
                with socket.socket() as dead:
                    os.dup2(dead.fileno(), end.fileno(), inheritable=False)
