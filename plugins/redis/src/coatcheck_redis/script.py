"""
The one script of a store, and its arguments and answers. No I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from coatcheck.backend import ANY, Unless
from coatcheck.codec import Codec
from coatcheck.errors import BackendStoreError

#: KEYS[1] the key; ARGV: value, life in ms or "", mode, then the value to match or the states.
#: Answers 1 (stored, or this very value is there), 0 (refused), or the current value where its
#: first bytes do not show the state: then the client decodes it and matches.
PUT: Final = """
local function peek(head)
  local state = string.match(head, '^%s*{%s*"status"%s*:%s*"([^"\\\\]*)"')
  if state then return state end
  local first, at = string.byte(head), nil
  if first >= 0x81 and first <= 0x8f then at = 2
  elseif first == 0xde then at = 4
  elseif first == 0xdf then at = 6 end
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
-- A user without the right to publish still stores: who waits finds it at the next look.
redis.pcall('PUBLISH', key, value)
return 1
"""
SHA: Final = hashlib.sha1(PUT.encode()).hexdigest()  # noqa: S324 - Redis's name for a script

_LONGEST: Final = 2**53  # ms; Redis counts in 64 bits from 1970, Lua in doubles


def arguments(
    key: str, value: bytes, unless: Unless, if_match: bytes | None, expires: float | None
) -> tuple[str | bytes | int, ...]:
    """
    Return the keys and arguments for one store.
    """
    life = "" if expires is None else str(min(_LONGEST, max(1, _milliseconds(expires))))
    if if_match is not None:
        return (1, key, value, life, "match", if_match)
    if unless is ANY:
        return (1, key, value, life, "any")
    return (1, key, value, life, "states", *sorted(unless))


def commands(stores: Sequence[tuple[Any, ...]], *, bring: bool = False) -> list[tuple[Any, ...]]:
    """
    Return the commands for *stores*. With *bring* the first one brings the script along.
    """
    named = [("EVALSHA", SHA, *store) for store in stores]
    return [("EVAL", PUT, *stores[0]), *named[1:]] if bring else named


def _milliseconds(seconds: float) -> int:
    return -int(-seconds * 1000 // 1)  # rounded up: a record lives at least so long


def answer(reply: object, key: str) -> bool | bytes:
    """
    Return whether it was stored, or the current value where the client has to decide.
    """
    if isinstance(reply, bytes):
        return reply
    if reply in (0, 1):
        return bool(reply)
    raise BackendStoreError(f"the server answered {reply!r} to the store of {key!r}")


def may_replace(current: bytes, unless: Unless, codec: Codec) -> bool:
    """
    Whether *current*, whose first bytes do not show its state, may be replaced.
    """
    return unless is not ANY and codec.state_of(current) not in unless


def glob(prefix: str) -> str:
    """
    Return the pattern of SCAN for keys that start with *prefix*.
    """
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix) + "*"
