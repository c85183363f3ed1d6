"""
Write the parts of the reference that are made from code, into reference/generated; conf.py calls it.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import click

import coatcheck
from coatcheck import aio
from coatcheck._finding.registry import AIO
from coatcheck.cli.group import coatcheck as group

#: Each kind of store by a URL. Nothing connects before the first operation.
STORES = {
    "Redis, Valkey": "redis://localhost",
    "PostgreSQL": "postgresql://localhost/app",
    "MariaDB, MySQL": "mariadb://localhost/app",
    "MongoDB": "mongodb://localhost/app",
    "Memcached": "memcached://localhost",
    "RabbitMQ": "rpc://localhost",
    "SQLite": "sqlite:///results.db",
    "files": "file:///tmp/results",
    "memory": "memory://",
    "disabled": "disabled://",
}
KNOWN = Path(__file__).parent / "reference" / "backends.toml"
CLASSES = ["Results", "AsyncResult", "ResultSet", "RunningTask"]


def capabilities() -> str:
    """
    Return the table of stores.
    """
    heads = [
        "store",
        "wakes waiters",
        "expires by itself",
        "lists records",
        "other processes",
        "asyncio",
    ]
    lines = [f"| {' | '.join([*heads, 'largest record'])} |", "|---" * (len(heads) + 1) + "|"]
    flags = [getattr(coatcheck.Capability, name) for name in ("PUSH", "TTL", "SCAN", "SHARED")]
    for name, url in STORES.items():
        with coatcheck.by_url(url) as results:
            has, limit = results.capabilities, results.backend.max_value_bytes
        cells = ["yes" if flag in has else "" for flag in flags]
        cells.append("a driver" if url.partition(":")[0] in AIO.schemes() else "threads")
        cells.append("" if limit is None else f"{limit:,}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def backends() -> str:
    """
    Return the table of known backends.
    """
    lines = [
        "| store | schemes | distribution | capabilities | certified |",
        "|---|---|---|---|---|",
    ]
    for known in tomllib.loads(KNOWN.read_text(encoding="utf-8"))["backend"]:
        certified = known.get("certified", {})
        cells = [
            f"[{known['store']}]({known['page']})",
            " ".join(f"`{scheme}`" for scheme in known["schemes"]),
            f"[{known['distribution']}](https://pypi.org/project/{known['distribution']}/)",
            " ".join(known["capabilities"]),
            ", ".join(map(str, certified.values())),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def helps() -> str:
    """
    Return the output of `--help` of each command.
    """
    names = ["", *group.list_commands(click.Context(group))]
    parts = []
    for name in names:
        said = subprocess.run(
            [sys.executable, "-m", "coatcheck", *([name] if name else []), "--help"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        title = f"coatcheck {name}".strip()
        parts.append(f"## {title}\n\n```text\n{said.rstrip()}\n```")
    return "\n\n".join(parts)


def sides() -> str:
    """
    Return the public names of both sides, with whether they are awaited.
    """
    parts = []
    for name in CLASSES:
        sync, other = getattr(coatcheck, name), getattr(aio, name)
        lines = [f"## {name}", "", "| name | synchronous | asyncio |", "|---|---|---|"]
        lines += [
            f"| `{member}` | {form(sync, member)} | {form(other, member)} |"
            for member in sorted({*public(sync), *public(other)})
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def public(cls: type) -> list[str]:
    """
    Return the public names of a class.
    """
    return [name for name in dir(cls) if not name.startswith("_")]


def form(cls: type, name: str) -> str:
    """
    Return how a name is used.
    """
    value = inspect.getattr_static(cls, name, None)
    if value is None:
        return ""
    function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else value
    if not inspect.isfunction(function):
        return f"`{name}`"
    signature = inspect.signature(function)
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    call = f"{name}({', '.join(stars.get(p.kind, '') + p.name for p in parameters)})"
    returns = str(signature.return_annotation)
    if returns.startswith(("AsyncGenerator", "AsyncIterator")):
        return f"`async for … in {call}`"
    if returns.endswith("RunningTask"):
        return f"`{'async ' * (cls.__module__ != coatcheck.Results.__module__)}with {call}`"
    awaited = inspect.iscoroutinefunction(function) or returns.startswith(
        ("Awaitable", "Coroutine")
    )
    return f"`{'await ' * awaited}{call}`"


def write(directory: Path) -> None:
    """
    Write all parts.
    """
    directory.mkdir(exist_ok=True)
    parts = {
        "backends": backends(),
        "capabilities": capabilities(),
        "commands": helps(),
        "sides": sides(),
    }
    for name, text in parts.items():
        path = directory / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent / "reference" / "generated")
