"""
The names of keys in the store. No I/O.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: The protocol's limit, in bytes.
LONGEST: Final = 250
#: The readable characters of a key before its hash.
_SHOWN: Final = 150

_PLAIN: Final = re.compile(r"[!-~]{1,250}\Z")
_UNFIT: Final = re.compile(r"[^!-~]")
#: The end of the names of keys that are no names themselves.
_HASHED: Final = re.compile(r"~[0-9a-f]{64}\Z")


def name_of(key: str) -> str:
    """
    Return *key* if it can be a name: up to 250 printable ASCII characters without a space. Otherwise return
    its beginning with its SHA-256. No two keys have the same name.
    """
    if _PLAIN.match(key) and not (len(key) > 64 and _HASHED.search(key)):
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{_UNFIT.sub('_', key[:_SHOWN])}~{digest}"
