"""
Text for people: one line, harmless to a terminal, of a readable length.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import Final, TextIO

import click

#: Spaces and joiners that Python does not call printable, and that do no harm.
_HARMLESS: Final = frozenset(
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
    "\u200c\u200d"
)
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def printable(text: str) -> str:
    """Return *text* with control characters escaped, also those that reverse or hide other text."""
    if text.isprintable():
        return text
    return "".join(
        char if _shows(char) else char.encode("unicode_escape").decode() for char in text
    )


def _shows(char: str) -> bool:
    return char.isprintable() or char in _HARMLESS


def harmless(text: str) -> str:
    """Return *text*, which may have several lines, with other control characters escaped."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


def harmless_json(text: str) -> str:
    """Return *text*, which is JSON, with control characters escaped as JSON escapes them."""
    return "".join(
        char if _shows(char) or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def is_terminal(stream: TextIO | None) -> bool:
    """Whether *stream*, which may be closed, is a terminal."""
    return stream is not None and stream.isatty()


def say(message: str) -> None:
    """Print *message* on stderr: one line, which a terminal shows broken between words."""
    line = one_line(f"coatcheck: {message}")
    if is_terminal(sys.stderr):
        width = shutil.get_terminal_size().columns
        lines = textwrap.wrap(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        line = "\n".join(lines)
    click.echo(line, err=True)


def one_line(text: str, limit: int | None = None) -> str:
    """Return *text* as one printable line, cut to *limit* characters."""
    line = printable(" ".join(text.split()))
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def span(seconds: float) -> str:
    """Return a duration in its largest unit, such as "8.1 s" or "3 h"."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
