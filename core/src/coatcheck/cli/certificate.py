"""
The report of `coatcheck certify` as text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ..testing.promises import PROMISES
from .text import harmless

if TYPE_CHECKING:
    from ..testing.certificate import Certificate, Test

_WIDTH: Final = 90
#: How many lines of a failure are shown.
_LINES: Final = 12


def as_text(found: Certificate) -> str:
    """Return the report for a terminal or a text file."""
    parts = (
        _head(found),
        _promises(found),
        *map(_broken, found.broken),
        _left_out(found),
        _end(found),
    )
    return harmless("\n\n".join("\n".join(part) for part in parts if part)) + "\n"


def facts(found: Certificate) -> list[tuple[str, str]]:
    """Return the facts about the store and the run, as names and values."""
    size = found.max_value_bytes
    latencies = [
        (
            f"a {name} takes",
            f"{times['p50']:.2f} ms at the median, {times['p99']:.2f} ms at the 99th percentile",
        )
        for name, times in found.latencies.items()
    ]
    return [
        ("store", found.url),
        ("date", found.date),
        *found.versions.items(),
        ("capabilities", " ".join(found.capabilities).lower() or "none"),
        ("largest record", "no limit is known" if size is None else f"{size:,} bytes"),
        ("unit of life", f"{found.expires_resolution:g} s"),
        *latencies,
    ]


def verdict(found: Certificate) -> str:
    """Return the last line of the report."""
    count = sum(test.outcome != "left out" for test in found.tests)
    which = f"{count} {'of the most telling ' if found.quick else ''}tests"
    if found.sound:
        return f"Sound: the backend kept its promises in {which}."
    numbers = [str(number) for number, outcome in found.promises.items() if outcome == "broken"]
    if not numbers:
        return f"Not sound, although no promise was broken in {which}."
    return f"Broken: promise {', '.join(numbers)}, by {len(found.broken)} of {which}."


def left_behind(found: Certificate) -> str:
    """Return whether the tests left records behind."""
    if found.left is None:
        return "The tests deleted all keys that they used; the store cannot list others."
    return f"The tests left {found.left or 'no'} records behind."


def counted(tests: Iterable[Test]) -> str:
    """Return how many of *tests* ran, and how many of those failed."""
    outcomes = [test.outcome for test in tests]
    ran, failed = len(outcomes) - outcomes.count("left out"), outcomes.count("broken")
    return f"{failed} of {ran} tests failed" if failed else f"{ran} tests"


def _head(found: Certificate) -> list[str]:
    return [f"{name:<18}{value}" for name, value in facts(found)]


def _promises(found: Certificate) -> list[str]:
    return [
        f"{outcome:<8} {number:>2}  {PROMISES[number]} ({counted(found.of_promise(number))})"
        for number, outcome in found.promises.items()
    ]


def _broken(test: Test) -> Iterator[str]:
    yield f"Broken: {test.name}, {test.side} side"
    for number in test.promises:
        yield f"  promise {number}: {PROMISES[number]}"
    yield from _paragraph("expected", test.expected)
    yield "  happened:"
    yield from (f"    {line}" for line in test.reason.splitlines()[:_LINES])
    yield "  the backend's last operations, with their answers:"
    yield from (f"    {line}" for line in test.operations.splitlines() or ["none"])


def _left_out(found: Certificate) -> list[str]:
    lines = ["Left out:"] if found.left_out() else []
    for reason, names in found.left_out().items():
        lines += _paragraph(reason, ", ".join(names))
    return lines


def _end(found: Certificate) -> list[str]:
    return [*(f"Error: {error}" for error in found.errors), left_behind(found), verdict(found)]


def _paragraph(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"{name}: {text}",
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )
