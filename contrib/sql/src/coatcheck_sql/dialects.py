"""
The kinds of databases, by SQLAlchemy's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .dialect import Dialect
from .mysql import MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite

DIALECTS: Final[Mapping[str, Dialect]] = {
    "postgresql": PostgreSQL(), "sqlite": SQLite(), **dict.fromkeys(("mysql", "mariadb"), MySQL())
}  # fmt: skip
