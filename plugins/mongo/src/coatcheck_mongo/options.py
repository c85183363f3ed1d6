"""
The types of the options of MongoDB, without those of its driver. `settings` reads them.
"""

from typing import TypedDict


class MongoOptions(TypedDict, total=False):
    """Options for `by_url(url, **MongoOptions(...))`."""

    database: str
    taskmeta_collection: str
    groupmeta_collection: str
    push: bool
    push_limit: float
