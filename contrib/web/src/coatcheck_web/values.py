"""
Values as trees to show: cut, with secrets masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

#: The most items, levels and letters that are shown.
ITEMS: Final = 200
LEVELS: Final = 12
LETTERS: Final = 5000
_SECRET: Final = re.compile(r"passw|secret|token|api_?key|credential|authorization", re.IGNORECASE)


class Node(NamedTuple):
    """One value: its text, and the labelled items of a container."""

    text: str
    items: list[tuple[str, Node]] | None = None
    open: bool = False


def tree(value: Any, level: int = 0) -> Node:
    """Return *value*, which JSON can hold, as a tree."""
    if isinstance(value, Mapping):
        pairs = [(str(key), item) for key, item in value.items()]
        word = "key" if len(pairs) == 1 else "keys"
    elif isinstance(value, (list, tuple)):
        pairs = [(str(number), item) for number, item in enumerate(value)]
        word = "item" if len(pairs) == 1 else "items"
    else:
        return Node(cut(value if isinstance(value, str) else repr(value), LETTERS))
    text = f"{len(pairs):,} {word}"
    if not pairs or level == LEVELS:
        return Node(text)
    items = [(cut(key, 200), _item(key, item, level + 1)) for key, item in pairs[:ITEMS]]
    if len(pairs) > ITEMS:
        items.append(("\u2026", Node(f"{len(pairs) - ITEMS:,} more")))
    return Node(text, items, level < 2)


def _item(key: str, value: Any, level: int) -> Node:
    return Node("********") if _SECRET.search(key) and value else tree(value, level)


def cut(text: str, letters: int) -> str:
    """Return *text*, or its beginning and how much is left."""
    if len(text) <= letters:
        return text
    return f"{text[:letters]}\u2026 ({len(text) - letters:,} more)"
