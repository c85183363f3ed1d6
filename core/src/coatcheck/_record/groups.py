"""
Groups: a list of task ids, kept under an id of its own in Celery's format.

Celery keeps a group as nested pairs: `[[id, parent], [child, ...]]`, and a task as
`[[id, parent], null]` (celery/result.py, `as_tuple`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..errors import DecodeError

#: A group as nested pairs, each `[[id, parent], members]`; a task has `None` for members.
Tree = Sequence[Any]

#: How deep groups of groups may be nested.
MAX_DEPTH: Final = 50


def key_prefix_of(task_prefix: str) -> str:
    """
    Return the prefix of the keys of groups if those of tasks start with *task_prefix*.

    Never such a key itself, or a scan for tasks would find groups.
    """
    before, found, after = task_prefix.rpartition("task-meta")
    if found:
        return f"{before}taskset-meta{after}"
    return f"taskset-{task_prefix}"


def to_document(group_id: str, task_ids: Iterable[str]) -> dict[str, Any]:
    """Return the document of a group."""
    return tree_to_document(group_id, tree_of(group_id, task_ids))


def tree_of(group_id: str, task_ids: Iterable[str]) -> Tree:
    """Return the pairs of a group without groups in it."""
    return [[group_id, None], [[[task_id, None], None] for task_id in task_ids]]


def tree_to_document(group_id: str, tree: Tree) -> dict[str, Any]:
    """Return the document of a group that may hold groups."""
    return {"result": tree, "task_id": group_id}


def tree_from_document(group_id: str, document: Mapping[str, Any]) -> Tree:
    """Return the pairs of a group; those of a flat list of ids are made. Raises `DecodeError`."""
    task_ids = from_document(group_id, document)
    result = document["result"]
    flat = all(isinstance(item, str) for item in result)
    return tree_of(group_id, task_ids) if flat else result


def members_of(tree: Tree) -> list[str]:
    """Return the ids of a group's tasks, those of groups within it in their place."""
    return list(_members(tree, 0))


def from_document(group_id: str, document: Mapping[str, Any]) -> list[str]:
    """
    Return the ids of a group's tasks, those of groups within it in their place.

    Reads Celery's pairs, and the flat list of ids that it keeps in document stores. Raises
    `DecodeError`.
    """
    result = document.get("result")
    if not isinstance(result, (list, tuple)):
        raise DecodeError(group_id, "it is not a group")
    if all(isinstance(item, str) for item in result):
        return list(result)
    try:
        return list(_members(result, 0))
    except (TypeError, ValueError, IndexError, RecursionError) as error:
        raise DecodeError(group_id, f"it is not a group: {error}") from error


def _members(pair: Any, depth: int) -> Iterator[str]:
    if isinstance(pair, str):
        yield pair
        return
    if depth > MAX_DEPTH:
        raise ValueError("groups are nested too deeply")
    own, children = pair
    if children is None:
        yield own if isinstance(own, str) else own[0]
        return
    for child in children:
        yield from _members(child, depth + 1)
