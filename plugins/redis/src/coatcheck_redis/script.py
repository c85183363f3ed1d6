"""
The commands for a server: the script that stores, reads and deletions. No I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from hiredis import pack_command

from coatcheck.errors import BackendStoreError
from coatcheck.plugin import ANY, LOG_BYTES, LOG_EVENTS, Codec, Unless

from .logs import log_of

Command = tuple[Any, ...]
#: An answer of the server: its type depends on the command.
Reply = Any

#: KEYS[1] is the key. ARGV: the value, its life in ms or "", the key of the log, the mode, then the value to
#: match or the states. Answers 1 (stored, or this very value is there), 0 (refused), or the current value if
#: its first bytes do not show the state: then the client decodes it and asks again.
_ELECT: Final = """
local function peek(head)
  local state = string.match(head, '^%s*{%s*"status"%s*:%s*"([^"\\\\]*)"')
  if state then return state end
  local first, at = string.byte(head), nil
  if first >= 0x81 and first <= 0x8f then at = 2
  elseif first == 0xde then at = 4
  elseif first == 0xdf then at = 6
  elseif string.sub(head, 1, 5) == '\\193COAT' then
    local size = string.byte(head, 7)
    if size and #head >= 7 + size then return string.sub(head, 8, 7 + size) end
  end
  if at and string.sub(head, at, at + 6) == '\\166status' then
    local size = string.byte(head, at + 7)
    if size and size >= 0xa0 and size <= 0xbf then
      return string.sub(head, at + 8, at + 7 + size - 0xa0)
    end
  end
  return nil
end

local key, value, life, log, mode = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local states = @states

local function refuse()
  return redis.call('GET', key) == value and 1 or 0
end

local head = redis.call('GETRANGE', key, 0, 127)
if head == '' then
  if mode == 'match' then return 0 end
elseif mode == 'match' then
  if redis.call('GET', key) ~= ARGV[5] then return refuse() end
elseif mode == 'any' then
  return refuse()
else
  local state = peek(head)
  if not state then return redis.call('GET', key) end
  for i = 5, states do
    if ARGV[i] == state then return refuse() end
  end
end
if life == '' then redis.call('SET', key, value) else redis.call('SET', key, value, 'PX', life) end
"""
#: The log ends with the record. A user who may not touch logs has none.
_PUT: Final = """
if head == '' then redis.pcall('DEL', log)
elseif life == '' then redis.pcall('PERSIST', log)
else redis.pcall('PEXPIRE', log, life) end
-- A user without the right to publish still stores: waiters find the record at the next look.
redis.pcall(@publish)
return 1
"""
#: Behind the states come the events, and their number. Answers the number of the last event, see `appended`.
#: The entry 0-N of the stream is the event N; it also has the size of all events up to it.
_APPEND: Final = """
local count = tonumber(ARGV[#ARGV])
if head == '' then redis.call('DEL', log) end
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local number, size = 0, 0
if newest then
  number, size = tonumber(string.sub(newest[1], 3)), tonumber(newest[2][4])
end
for i = #ARGV - count, #ARGV - 1 do
  number, size = number + 1, size + #ARGV[i]
  redis.call('XADD', log, '0-' .. number, 'e', ARGV[i], 's', size)
end
redis.call('XTRIM', log, 'MAXLEN', @events)
local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
while size - tonumber(oldest[2][4]) + #oldest[2][2] > @bytes do
  redis.call('XDEL', log, oldest[1])
  oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
end
if life == '' then redis.call('PERSIST', log) else redis.call('PEXPIRE', log, life) end
redis.pcall(@publish)
return {number}
"""
#: A repeated call, whose first reply was lost, appends nothing.
_AGAIN: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  local newest = redis.call('XREVRANGE', ARGV[3], '+', '-', 'COUNT', 1)[1]
  if newest then return {tonumber(string.sub(newest[1], 3))} end
end
"""
_BOUNDS: Final = {"@events": str(LOG_EVENTS), "@bytes": str(LOG_BYTES)}


class Script:
    """A script, with the command that publishes the record."""

    def __init__(self, text: str, publish: str, states: str = "#ARGV") -> None:
        for name, value in {**_BOUNDS, "@publish": publish, "@states": states}.items():
            text = text.replace(name, value)
        self.text = text
        self.sha = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324 - as Redis names it

    def commands(self, stores: Sequence[Command], *, bring: int | None = 0) -> list[Command]:
        """
        Return the commands for *stores*. The first *bring* of them carry the script; `None`: all.
        """
        named: list[Command] = [("EVALSHA", self.sha, *store) for store in stores]
        if bring == 0:
            return named
        count = len(stores) if bring is None else bring
        return [*(("EVAL", self.text, *store) for store in stores[:count]), *named[count:]]


class Scripts(NamedTuple):
    """The scripts that store a record, without and with events."""

    put: Script
    append: Script


def _scripts(publish: str) -> Scripts:
    append = Script(_AGAIN + _ELECT + _APPEND, publish, "#ARGV - 1 - tonumber(ARGV[#ARGV])")
    return Scripts(Script(_ELECT + _PUT, publish), append)


#: As Celery publishes: the record, on the channel named like the key.
SCRIPTS: Final = _scripts("'PUBLISH', key, value")
#: For clusters, which Celery does not know: within the slot's shard, and without the record. Nobody reads
#: it from the channel, and it would go to every replica once more.
SHARDED: Final = _scripts("'SPUBLISH', key, ''")

#: Asks for the largest size of a value. Managed servers may refuse it. On a cluster, any node will do:
#: the one that serves the "key" GET answers, see `key_of`.
LIMIT: Final[Command] = ("CONFIG", "GET", "proto-max-bulk-len")

#: The number of commands that carry the script, in one try after the other. At first none: the server
#: most likely knows it. At last all: another client may flush the scripts in the middle of a batch.
BRINGING: Final = (0, 1, None)

_LONGEST: Final = 2**53  # ms; Redis counts in 64 bits from 1970, Lua in doubles


def packed(commands: Sequence[Command]) -> bytes:
    """
    Return the bytes to send for *commands*, made of text and bytes.

    The driver's connections look at each argument in Python first. Without that a store of a small value
    takes a tenth less CPU (`tests/bench/bench_redis.py`, store and fetch).
    """
    return b"".join(map(pack_command, commands))


def arguments(
    key: str, value: bytes, unless: Unless, if_match: bytes | None, expires: float | None
) -> tuple[str | bytes, ...]:
    """Return the keys and arguments for one store."""
    life = "" if expires is None else str(min(_LONGEST, max(1, _milliseconds(expires))))
    log = log_of(key)
    if if_match is not None:
        return ("1", key, value, life, log, "match", if_match)
    if unless is ANY:
        return ("1", key, value, life, log, "any")
    return ("1", key, value, life, log, "states", *sorted(unless))


def appending(store: Command, events: Sequence[bytes]) -> Command:
    """Return the keys and arguments for a store with events, which names the log as a key."""
    return ("2", store[1], store[4], *store[2:], *events, str(len(events)))


def value_of(store: Command) -> bytes:
    """Return the value in the keys and arguments *store*."""
    value: bytes = store[1 + int(store[0])]
    return value


def _milliseconds(seconds: float) -> int:
    return -int(-seconds * 1000 // 1)  # rounded up: a record lives at least `expires`


def answer(reply: object, key: str) -> bool | bytes:
    """Return whether the record was stored, or the current value if the client must decide."""
    if isinstance(reply, bytes):
        return reply
    if reply in (0, 1):
        return bool(reply)
    raise BackendStoreError(f"the server answered {reply!r} to the store of {key!r}")


def appended(reply: object, key: str) -> int | bytes | None:
    """
    Return the number of the last event, `None` if the record was refused, or the current value if the client
    must decide.
    """
    if isinstance(reply, bytes):
        return reply
    if isinstance(reply, list) and len(reply) == 1 and isinstance(reply[0], int):
        return reply[0]
    if reply == 0:
        return None
    raise BackendStoreError(f"the server answered {reply!r} to the events of {key!r}")


def may_replace(current: bytes, unless: Unless, codec: Codec) -> bool:
    """Whether *current*, whose first bytes do not show its state, may be replaced."""
    return unless is not ANY and codec.state_of(current) not in unless


def reads(keys: Sequence[str], *, sharded: bool) -> list[Command]:
    """Return the commands that read *keys*. On a cluster MGET takes no keys of different slots."""
    return [("GET", key) for key in keys] if sharded else [("MGET", *keys)]


def values(keys: Sequence[str], replies: Sequence[Reply], *, sharded: bool) -> dict[str, bytes]:
    """Return the values in the replies to `reads`."""
    found = replies if sharded else replies[0]
    # For a key that holds no string, GET replies an error, and MGET that it is absent.
    return {k: v for k, v in zip(keys, found, strict=True) if isinstance(v, bytes)}


def deletions(keys: Sequence[str], *, sharded: bool) -> list[Command]:
    """Return the commands that delete *keys*. The replies are numbers of deleted keys."""
    return [("DEL", key) for key in keys] if sharded else [("DEL", *keys)]


def limit_in(reply: Reply) -> int | None:
    """Return the limit in a reply to `LIMIT`; `None` for a refusal."""
    found = reply[1] if isinstance(reply, list) and len(reply) > 1 else None
    return int(found) if isinstance(found, bytes) and found.isdigit() else None


def key_of(command: Command) -> str:
    """Return the key of *command*."""
    key: str = command[3] if command[0].startswith("EVAL") else command[1]
    return key


def glob(prefix: str) -> str:
    """Return the pattern of SCAN for keys that start with *prefix*."""
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix) + "*"


def texts(keys: Iterable[bytes]) -> Iterator[str]:
    """Iterate over *keys* as text. Keys of others that are not UTF-8 are left out."""
    for key in keys:
        try:
            yield key.decode()
        except UnicodeDecodeError:
            continue
