"""
What pages show of the command line is what it prints, apart from numbers and times.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from support.cli import CommandLine

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(\$ coatcheck .*?)^```", re.DOTALL | re.MULTILINE)
#: Fills the store before a block: by page, and by a word in the block.
BEFORE = {
    ("find-tasks.md", ""): """
for n in range(30):
    results.store_result(f"mail-{n}", True, name="mail", worker="w1", date_started=now - timedelta(seconds=n / 10))
for n, words in enumerate(["no paper", "no ink"], 7):
    started = now - timedelta(seconds=90 * n)
    results.mark_as_failure(f"report-{n}", OSError(words), name="report", worker="w2", date_started=started)
results.store_result("report-9", "12 pages", name="report", worker="w1", date_started=now - timedelta(seconds=8))
results.mark_as_started("report-10", name="report", worker="w2", date_started=now - timedelta(hours=3))
results.mark_as_started("report-11", name="report", worker="w1", date_started=now - timedelta(minutes=4))
""",
    ("count-records.md", ""): """
results.store_many({f"t{n}": n for n in range(11854)})
for n in range(46):
    results.mark_as_failure(f"f{n}", OSError())
for n in range(8):
    results.mark_as_started(f"s{n}", date_started=now)
""",
    ("command-line.md", "revoke"): "results.mark_as_started('digest')",
    ("command-line.md", "forget"): """
results.store_many({"build": 1, "test": 2})
results.store_many({"old": 3, "older": 4}, expires=0.001)
""",
    ("command-line.md", "backends"): """
pathlib.Path("coatcheck.toml").write_text('[backends.default]\\nurl = "redis://:secret@db.internal/1"')
""",
    ("copy-records.md", ""): """
pathlib.Path("coatcheck.toml").write_text('''
[backends.live]
url = "sqlite:///live.db"
[backends.archive]
url = "sqlite:///archive.db"
''')
results.store_many({f"t{n}": n for n in range(2400)})
results.ResultSet(["t1", "t2"]).save("g")
with coatcheck.by_name("live") as live:
    for n in range(46):
        live.mark_as_failure(f"f{n}", OSError())
""",
}
#: Blocks that need a server with faults, a killed worker, another program or much time; other tests prove what they show.
LEFT_OUT = {
    ("doctor.md", "doctor redis"),
    ("doctor.md", "doctor audit"),
    ("gateway.md", "coatcheck serve"),
    ("lost-workers.md", "nightly-import"),
    ("command-line.md", "jq"),
    ("command-line.md", "stdlib_digest"),
    ("write-a-backend.md", "new-backend"),
}
FILL = """
import os, pathlib, coatcheck
from datetime import UTC, datetime, timedelta
ROOT, now = pathlib.Path({root!r}), datetime.now(UTC)
with coatcheck.by_url("sqlite:///results.db") as results:
    pass
    {body}
"""


class Block(NamedTuple):
    """A block of a page."""

    page: str
    text: str

    def of(self, table: object) -> tuple[str, str] | None:
        """Return the key of the block in a table."""
        keys = (key for key in table if key[0] == self.page and key[1] in self.text)  # type: ignore[attr-defined]
        return next(keys, None)


BLOCKS = [
    Block(page.name, text)
    for page in sorted(ROOT.glob("docs/**/*.md"))
    for text in BLOCK.findall(page.read_text(encoding="utf-8"))
]
RUN = [block for block in BLOCKS if block.of(LEFT_OUT) is None]


def test_all_blocks_are_known() -> None:
    """
    Each block is run or left out; no entry of the tables is for a block that has gone.
    """
    assert set(LEFT_OUT) == {key for block in BLOCKS if (key := block.of(LEFT_OUT))}
    assert set(BEFORE) == {key for block in RUN if (key := block.of(BEFORE))}


def plain(text: str) -> list[str]:
    """
    Return the lines of *text* with `N` for numbers and times, without rulers and wide gaps.
    """
    text = "\n".join(line for line in text.splitlines() if "━" not in line)
    text = re.sub(r"\d[\d,.]*( (ms|s|min|h|d)\b)?", "N", text.replace("\r", ""))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line.strip("─ ")]


def pattern(lines: list[str]) -> re.Pattern[str]:
    """
    Return what matches *lines*, and any lines for `...`.
    """
    parts = ["(?:.*\n)*?" if line == "..." else f"{re.escape(line)}\n" for line in lines]
    return re.compile("".join(parts))


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"{block.page}-{block.text[2:30]}")
def test_block(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The commands of a block print what stands below them.
    """
    monkeypatch.chdir(tmp_path)
    key = block.of(BEFORE)
    body = "" if key is None else BEFORE[key].strip().replace("\n", "\n    ")
    subprocess.run(
        [sys.executable, "-c", FILL.format(root=str(ROOT), body=body)], check=True, timeout=60
    )
    cli = CommandLine(tmp_path)
    monkeypatch.setattr(CommandLine, "url", "sqlite:///results.db")
    for part in re.split(r"^\$ coatcheck ", block.text, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        with cli.terminal(*shlex.split(line, comments=True), columns=160) as terminal:
            terminal.finish()
        shown = plain(terminal.shown.replace(str(tmp_path), "/srv/shop"))
        assert pattern(plain(expected)).fullmatch("\n".join([*shown, ""])), shown
