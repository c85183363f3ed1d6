"""
The commands for a server: the script that stores, reads and deletions. No I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from hiredis import pack_command

from coatcheck.errors import BackendStoreError
from coatcheck.plugin import ANY, Codec, Unless

Command = tuple[Any, ...]
#: An answer of the server: its type depends on the command.
Reply = Any

#: KEYS[1] is the key. ARGV: the value, its life in ms or "", the mode, then the value to match or the
#: states. Answers 1 (stored, or this very value is there), 0 (refused), or the current value if its first
#: bytes do not show the state: then the client decodes it and asks again.
_PUT: Final = """
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

local key, value, life, mode = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local function refuse()
  return redis.call('GET', key) == value and 1 or 0
end

local head = redis.call('GETRANGE', key, 0, 127)
if head == '' then
  if mode == 'match' then return 0 end
elseif mode == 'match' then
  if redis.call('GET', key) ~= ARGV[4] then return refuse() end
elseif mode == 'any' then
  return refuse()
else
  local state = peek(head)
  if not state then return redis.call('GET', key) end
  for i = 4, #ARGV do
    if ARGV[i] == state then return refuse() end
  end
end
if life == '' then redis.call('SET', key, value) else redis.call('SET', key, value, 'PX', life) end
-- A user without the right to publish still stores: waiters find the record at the next look.
redis.pcall(@publish)
return 1
"""


class Script:
    """The script, with the command that publishes the record."""

    def __init__(self, publish: str) -> None:
        self.text = _PUT.replace("@publish", publish)
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


#: As Celery publishes: the record, on the channel named like the key.
SCRIPT: Final = Script("'PUBLISH', key, value")
#: For clusters, which Celery does not know: within the slot's shard, and without the record. Nobody reads
#: it from the channel, and it would go to every replica once more.
SHARDED: Final = Script("'SPUBLISH', key, ''")

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
    if if_match is not None:
        return ("1", key, value, life, "match", if_match)
    if unless is ANY:
        return ("1", key, value, life, "any")
    return ("1", key, value, life, "states", *sorted(unless))


def _milliseconds(seconds: float) -> int:
    return -int(-seconds * 1000 // 1)  # rounded up: a record lives at least `expires`


def answer(reply: object, key: str) -> bool | bytes:
    """Return whether the record was stored, or the current value if the client must decide."""
    if isinstance(reply, bytes):
        return reply
    if reply in (0, 1):
        return bool(reply)
    raise BackendStoreError(f"the server answered {reply!r} to the store of {key!r}")


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
