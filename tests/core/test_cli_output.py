"""
What `coatcheck run` makes of output: progress, and the tail that is kept.
"""

import threading
from typing import Any

import pytest
from support.cli import until

from coatcheck.cli import run
from coatcheck.cli.process import Tail
from coatcheck.cli.progress import ProgressReader, progress_in
from coatcheck.errors import BackendUnavailableError


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("37%", (37, 100)),
        ("done: 12.5 %", (12.5, 100)),
        ("3/10", (3, 10)),
        ("[ 12/345] Building C object", (12, 345)),
        ("  5 / 20 files", (5, 20)),
        ("37%|###   | 37/101 [00:01<00:02, 30.1it/s]", (37, 101)),
        ("12.3/45.6 MB 2.0 MB/s eta 0:00:16", (12.3, 45.6)),
        ("\x1b[32m7/8\x1b[0m", (7, 8)),
        ("test_x.py::test_y PASSED   [ 64%]", (64, 100)),
        ("step 1/3, then 2/3", (2, 3)),
        ("0/5", (0, 5)),
        ("5/0", None),
        ("11/10", None),
        ("250%", None),
        ("2026/11/22", None),
        ("1/2/3", None),
        ("src/1/2.py", None),
        ("v1.2/3", None),
        ("100%%d", (100, 100)),
        ("no numbers", None),
        ("", None),
    ],
)
def test_progress_in_a_line(line: str, progress: tuple[float, float] | None) -> None:
    """
    Percentages and fractions are progress; dates, paths and what exceeds the whole are not.
    """
    assert progress == progress_in(line.encode())


def test_progress_comes_in_pieces() -> None:
    """
    A number at the end of a piece may go on, so it counts when its line ends; a percent sign ends it.
    """
    reader = ProgressReader()

    assert [None, None, (12.0, 345.0), (40.0, 100.0), (40.0, 100.0), (3.0, 4.0)] == [
        reader.feed(piece) for piece in (b"1", b"2/34", b"5\r", b" 40%", b"\r3/4", b"\n\n")
    ]


def test_explicit_progress_goes_first() -> None:
    """
    Once a command uses the terminal's sequence for progress, its text is not looked at.
    """
    reader = ProgressReader()

    assert (1.0, 2.0) == reader.feed(b"1/2\n")
    assert (50.0, 100.0) == reader.feed(b"\x1b]9;4;1;50\x1b\\ 1/7\n")
    assert reader.feed(b"3/7\n") is None
    assert reader.feed(b"\x1b]9;4;3;0\x07\x1b]9;4;0;\x07") is None
    assert (60.0, 100.0) == reader.feed(b"\x1b]9;4;1;60\x07")


def test_an_endless_line_is_bounded() -> None:
    """
    A line without end does not take memory without end, nor lose what comes after it.
    """
    reader = ProgressReader()
    for _ in range(100):
        reader.feed(b"x" * 100_000)

    assert len(reader._line) < 10_000
    assert (1.0, 2.0) == reader.feed(b"\n1/2\n")


class Task:
    """
    A task that counts what is stored.
    """

    def __init__(self) -> None:
        self.stored: list[tuple[float, float]] = []
        self.error: Exception | None = None

    def progress(self, current: float, total: float) -> None:
        self.stored.append((current, total))
        if self.error is not None:
            raise self.error


def test_progress_is_throttled(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The first progress is stored at once, and of what follows within the pause nothing; the end
    waits for no pause.
    """
    monkeypatch.setattr(run, "PROGRESS_EVERY", 3600)
    task: Any = Task()
    reporter = run.Reporter(task)
    feed = reporter.reader()
    feed(b"1/5000\n")
    until(lambda: task.stored)
    for number in range(2, 5001):
        feed(b"%d/5000\n" % number)
    reporter.end()

    assert [(1, 5000)] == task.stored


def test_progress_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Progress that could not be stored does not keep later progress from it.
    """
    monkeypatch.setattr(run, "PROGRESS_EVERY", 0.01)
    task: Any = Task()
    task.error = BackendUnavailableError("away")
    reporter = run.Reporter(task)
    feed = reporter.reader()
    feed(b"1/3\n")
    until(lambda: len(task.stored) == 1)
    feed(b"2/3\n")
    until(lambda: len(task.stored) == 2)
    reporter.end()

    assert "coatcheck-progress" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("output", "kept"),
    [
        (b"plain\ntext\n", "plain\ntext\n"),
        (b"1/3\r2/3\r3/3\r\ndone\n", "3/3\r\ndone\n"),
        (b"\r10%\r20%", "20%"),
        (b"dos\r\nlines\r\n", "dos\r\nlines\r\n"),
        (b"a\n\rb\rc\n", "a\nc\n"),
        ("gr\xfc\xdfe".encode(), "gr\xfc\xdfe"),
        (b"\xff\x00", "\ufffd\x00"),
    ],
)
def test_the_tail_shows_what_a_terminal_would(output: bytes, kept: str, size: int) -> None:
    """
    Of a line overwritten after a carriage return the last version is kept, whatever the pieces.
    """
    tail = Tail()
    for start in range(0, len(output), size):
        tail.feed(output[start : start + size])

    assert kept == tail.text()
    assert not tail.truncated


def test_the_tail_is_bounded() -> None:
    """
    Of long output the end is kept, never more than the limit, and no half of a character.
    """
    tail = Tail(limit=6)
    for number in range(1000):
        tail.feed(f"{number}é".encode())

    assert "999é" == tail.text()
    assert tail.truncated


def test_what_fits_is_not_truncated() -> None:
    """
    Output of exactly the limit is all there.
    """
    tail = Tail(limit=10)
    tail.feed(b"0123456789")

    assert ("0123456789", False) == (tail.text(), tail.truncated)
