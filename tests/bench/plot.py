"""
Draws what the benches measured: `python tests/bench/plot.py RESULT.json PLOT.svg`.

Needs the dependency group `plots`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "coatcheck"  # the same picture from the same numbers

from matplotlib import pyplot as plt  # noqa: E402

OURS = "coatcheck"


def speeds(row: dict[str, Any]) -> dict[str, float]:
    """
    Return how many times the raw driver's speed each has, ours first.
    """
    ratios = {OURS: row["ratio"], **row["peers"]}
    return ratios if row["at_least"] else {name: 1 / ratio for name, ratio in ratios.items()}


def drawn(rows: list[dict[str, Any]], path: Path) -> None:
    """
    Draw a group of bars for each of *rows*.
    """
    names = list(dict.fromkeys(name for row in rows for name in speeds(row)))
    colours = dict(zip(names, plt.get_cmap("tab10").colors, strict=False))
    figure, axes = plt.subplots(figsize=(8, 0.2 * sum(len(speeds(r)) + 1 for r in rows) + 1))
    at, ticks = 0, []
    for row in rows:
        found = speeds(row)
        ticks.append((at + (len(found) - 1) / 2, row["name"]))
        for name, speed in found.items():
            axes.barh(at, speed, color=colours[name], label=name)
            axes.annotate(f" {speed:.2g}", (speed, at), va="center", fontsize=8)
            at += 1
        at += 1
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("speed, where the raw driver doing the same work is 1")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """
    Draw the rows of a result that have others to compare with.
    """
    parser = argparse.ArgumentParser(description="Draw what a bench measured.")
    parser.add_argument("result", type=Path, help="what `--json` of a bench wrote")
    parser.add_argument("plot", type=Path, help="the picture, .svg or .png")
    options = parser.parse_args()
    rows = json.loads(options.result.read_text(encoding="utf-8"))["rows"]
    drawn([row for row in rows if row["peers"] and "CPU" not in row["name"]], options.plot)


if __name__ == "__main__":
    main()
