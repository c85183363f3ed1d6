"""
How benches measure: contenders in turns, medians over rounds, ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: The contender that ratios are made of, and the one they are made against.
OURS, RAW = "coatcheck", "raw"
#: Samples of each contender, round by round.
Samples = dict[str, list[float]]


def timed(call: Callable[[], object]) -> float:
    """
    Return how long *call* takes, in seconds.
    """
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turns(
    contenders: Mapping[str, Callable[[int], float]], rounds: int, *, warm_up: int = 1
) -> Samples:
    """
    Call every contender once a round, each time in another order; return what they returned.

    Not only begun by another one: who comes after it finds the caches as it left them, which
    helps whoever runs the same code, such as a driver's.
    """
    names = list(contenders)
    samples: Samples = {name: [] for name in names}
    shuffle = random.Random(0).shuffle
    for number in range(rounds + warm_up):
        shuffle(names)
        for name in names:
            sample = contenders[name](number)
            if number >= warm_up:
                samples[name].append(sample)
    return samples


def percentile(values: Sequence[float], percent: float) -> float:
    """
    Return the value below which *percent* of *values* are.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass
class Row:
    """
    What was measured, and the target it is held against.
    """

    name: str
    unit: str
    value: float | None
    raw: float | None = None
    ratio: float | None = None
    target: float | None = None
    #: Whether the target is a minimum.
    at_least: bool = False
    #: The same ratio for others, by name.
    peers: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """
        Whether the target is met; `None` where there is none.
        """
        found = self.value if self.ratio is None else self.ratio
        if self.target is None or found is None:
            return None
        return found >= self.target if self.at_least else found <= self.target


def speed(name: str, samples: Samples, *, each: int, target: float | None) -> Row:
    """
    Return a row of times for *each* operations, whose ratios say how many times raw's speed.
    """
    return _row(name, samples, scale=1e6 / each, unit="us", target=target, at_least=True)


def delay(name: str, samples: Samples, *, target: float | None, unit: str = "ms") -> Row:
    """
    Return a row of times, whose ratios say how many times as long as raw.
    """
    return _row(name, samples, scale=1e3, unit=unit, target=target, at_least=False)


def cost(name: str, samples: Samples, *, each: int, target: float | None) -> Row:
    """
    Return a row of CPU times for *each* operations, whose ratios say how many times raw's.
    """
    return _row(name, samples, scale=1e6 / each, unit="us", target=target, at_least=False)


def _row(
    name: str, samples: Samples, *, scale: float, unit: str, target: float | None, at_least: bool
) -> Row:
    def ratio(of: str) -> float:
        # Within a round, so that what slows a round down slows down both.
        pairs = zip(samples[of], samples[RAW], strict=True)
        return statistics.median(raw / own if at_least else own / raw for own, raw in pairs)

    medians = {of: statistics.median(values) * scale for of, values in samples.items()}
    peers = {of: ratio(of) for of in samples if of not in (OURS, RAW)}
    return Row(
        name, unit, medians[OURS], medians[RAW], ratio(OURS), target, at_least=at_least, peers=peers
    )


@contextmanager
def on_one_cpu(*pids: int, this_thread: bool = True) -> Iterator[None]:
    """
    Hold the processes *pids* and *this_thread* on one CPU, where the system can.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    held = [thread for pid in pids for thread in _threads(pid)] + [0] * this_thread
    _hold(held, {max(before)})
    try:
        yield
    finally:
        _hold(held, before)


def _hold(threads: Sequence[int], cpus: set[int]) -> None:
    for thread in threads:
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setaffinity(thread, cpus)


def _threads(pid: int) -> list[int]:
    """
    Return the threads of a process: each is held by itself.
    """
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


# -- the command line -------------------------------------------------------------------------


def parser_for(store: str, parts: Sequence[str]) -> argparse.ArgumentParser:
    """
    Return what reads the options that all benches have.
    """
    parser = argparse.ArgumentParser(description=f"What coatcheck costs on {store}.")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--strict", action="store_true", help="a missed target is an error")
    parser.add_argument("--only", choices=parts, action="append", help="one part; repeatable")
    parser.add_argument("--json", type=Path, help="where the JSON is written")
    return parser


def options_of(parser: argparse.ArgumentParser, parts: Sequence[str]) -> argparse.Namespace:
    """
    Return the options; those of other benches, which all are given at once, are left alone.
    """
    options, _ = parser.parse_known_args()
    options.only = options.only or parts
    return options


def concluded(
    rows: Iterable[Row],
    options: argparse.Namespace,
    *,
    about: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> int:
    """
    Print *rows* as they come and all together; return the exit status: with `--strict`, whether a
    target is missed.
    """
    found = []
    for row in rows:
        print(line(row), file=sys.stderr, flush=True)
        found.append(row)
    report(found, about=about, notes=notes, path=options.json)
    return 1 if options.strict and any(row.met is False for row in found) else 0


# -- the report -------------------------------------------------------------------------------


def show(rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """
    Print the table.
    """
    print(f"\n{'':<38}{OURS:>11}{RAW:>11}{'ratio':>8}{'target':>9}")
    for row in rows:
        print(line(row))
    for note in notes:
        print(note)


def line(row: Row) -> str:
    """
    Return the row as it is printed.
    """
    columns = [
        f"{row.name:<38}",
        f"{_number(row.value)} {row.unit}".rjust(11),
        f"{_number(row.raw)} {row.unit}".rjust(11) if row.raw is not None else " " * 11,
        f"{row.ratio:.2f}".rjust(8) if row.ratio is not None else " " * 8,
        _target(row).rjust(9),
        {None: "", True: " met", False: " MISSED"}[row.met],
    ]
    peers = "".join(f"  {name} {ratio:.2f}" for name, ratio in row.peers.items())
    return "".join(columns) + peers


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    return f"{'>=' if row.at_least else '<='} {row.target:g}"


def report(
    rows: Sequence[Row], *, about: Mapping[str, Any], notes: Sequence[str], path: Path | None
) -> None:
    """
    Print the table, and JSON as the last line; into *path* if there is one.
    """
    show(rows, notes)
    found = {
        "python": sys.version.split()[0],
        "cpus": os.cpu_count(),
        **about,
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        "notes": list(notes),
    }
    if path is not None:
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(json.dumps(found))
