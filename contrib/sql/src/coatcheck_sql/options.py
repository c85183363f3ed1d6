"""
The types of the options of databases, without those of the drivers. `settings` reads them.
"""

from typing import Any, TypedDict


class SQLOptions(TypedDict, total=False):
    """Options for `by_url(url, **SQLOptions(...))`."""

    max_connections: int
    push: bool
    listen_url: str
    prepare: bool
    migrate: bool
    task_table: str
    group_table: str
    task_schema: str
    group_schema: str
    timezone: str
    engine_options: dict[str, Any]
