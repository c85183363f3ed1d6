"""
The characters that a database holds, and keys for ids that it cannot hold. No I/O.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from typing import Final, NamedTuple

#: The length of Celery's column of ids.
ID_LENGTH: Final = 155
#: The start of a key for an id that the column cannot hold.
HASHED: Final = "~sha256:"
#: The characters of MySQL's old "utf8"; Python has no name for them.
BASIC: Final = "utf8mb3"
_BEYOND_BASIC: Final = re.compile("[^\0-\ufffe\uffff]")


class Letters(NamedTuple):
    """Which characters the columns of text hold, and which ids the columns of ids keep apart."""

    #: Python's name of the characters, or `BASIC`.
    encoding: str = "utf-8"
    #: Whether ids that differ by spaces at their end are the same.
    padded: bool = False
    #: Whether ids that differ by case or accents are the same.
    folded: bool = False

    def holds(self, text: str) -> bool:
        """Whether *text* can be stored as it is."""
        return "\0" not in text and (text.isascii() or self.escaped(text) == text)

    def escaped(self, text: str) -> str:
        """
        Return *text* with `\\x..`, `\\u....` or `\\U........` for characters that cannot be stored.
        """
        text = text.replace("\0", "\\x00")
        if self.encoding != BASIC:
            return text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        text = text.encode("utf-8", "backslashreplace").decode()
        return _BEYOND_BASIC.sub(lambda found: f"\\U{ord(found[0]):08x}", text)


#: Everything is stored as it is.
EXACT: Final = Letters()


def letters_of(encoding: str | None) -> Letters:
    """Return the letters for PostgreSQL's name of an *encoding*."""
    if encoding in (None, "UTF8", "SQL_ASCII"):
        return EXACT  # SQL_ASCII takes any bytes, and everybody writes UTF-8 there
    try:
        python = codecs.lookup(encoding.lower().replace("win", "cp").replace("koi8", "koi8_"))
    except LookupError:
        return Letters("ascii")
    return Letters(python.name)


def key_of(id_: str, letters: Letters = EXACT) -> str:
    """
    Return the key of an id: the id itself, if the column can hold it and keep it apart from others.
    """
    fits = len(id_) <= ID_LENGTH and letters.holds(id_) and not id_.startswith(HASHED)
    if letters.padded or letters.folded:
        fits = fits and not id_.endswith(" ")
    if letters.folded:
        fits = fits and id_.isascii() and id_.isprintable() and id_ == id_.lower()
    return id_ if fits else HASHED + hashlib.sha256(id_.encode()).hexdigest()
