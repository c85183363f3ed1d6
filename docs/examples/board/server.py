"""
A small key-value server: `python server.py PORT`. Each line is a JSON object, and so is each answer.

`swap` stores a value if the key still holds `old`. A connection that sends `watch` receives
`{"rang": key}` at each write to the key.
"""

import asyncio
import json
import sys
import time

LONGEST_LINE = 64 * 1024 * 1024


class Board:
    def __init__(self):
        self.values = {}  # by key: the value, and when it expires
        self.watchers = {}  # by key: the connections that watch it
        self.connections = 0

    def living(self, key):
        value, until = self.values.get(key, (None, None))
        return value if until is None or until > time.time() else None

    def swap(self, writer, key, value, old, expires):
        now = self.living(key)
        if now != old:
            return {"done": False, "now": now}
        self.values[key] = value, None if expires is None else time.time() + expires
        for watcher in self.watchers.get(key, ()):
            watcher.write(line({"rang": key}))
        return {"done": True}

    def get(self, writer, keys):
        found = ((key, self.living(key)) for key in keys)
        return {"values": {key: value for key, value in found if value is not None}}

    def delete(self, writer, keys):
        living = [key for key in set(keys) if self.living(key) is not None]
        for key in keys:
            self.values.pop(key, None)
        return {"deleted": len(living)}

    def scan(self, writer, prefix):
        keys = [key for key in self.values if key.startswith(prefix)]
        return {"keys": [key for key in keys if self.living(key) is not None]}

    def purge(self, writer):
        expired = [key for key in self.values if self.living(key) is None]
        for key in expired:
            del self.values[key]
        return {"purged": len(expired)}

    def life(self, writer, key):
        until = self.values[key][1]
        return {"seconds": None if until is None else until - time.time()}

    def count(self, writer):
        return {"open": self.connections + sum(map(len, self.watchers.values()))}

    def watch(self, writer, keys):
        for key in keys:
            self.watchers.setdefault(key, set()).add(writer)
        return {"watching": keys}

    def unwatch(self, writer, keys):
        for key in keys:
            self.watchers.get(key, set()).discard(writer)
        return {"unwatched": keys}

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while request := await reader.readline():
                named = json.loads(request)
                writer.write(line(getattr(self, named.pop("do"))(writer, **named)))
                await writer.drain()
        except OSError:
            pass  # the client is gone
        finally:
            self.connections -= 1
            for watchers in self.watchers.values():
                watchers.discard(writer)
            writer.close()


def line(answer):
    return json.dumps(answer).encode() + b"\n"


async def main(port):
    server = await asyncio.start_server(Board().serve, "127.0.0.1", port, limit=LONGEST_LINE)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
