"""
Draw the diagrams of the explanations as SVG: the steps in order, one lane for each party.

    nox -s pictures
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
TOP, STEP, PER_CHARACTER = 84, 44, 7.2  # pixels

STYLE = """
  .back { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328; font: 13px system-ui, sans-serif }
  .lane { stroke: #c4cbd3; stroke-dasharray: 3 4 } .box { fill: #eef4fb; stroke: #0b5cad } .name { font-weight: 600 }
  .arrow { stroke: #0b5cad; stroke-width: 1.6; fill: none } .head { fill: #0b5cad }
  .good .arrow { stroke: #116329 } .good .head, .good text { fill: #116329 }
  .bad .arrow { stroke: #b3261e } .bad .head, .bad text { fill: #b3261e }
  .note { fill: #fff8e5; stroke: #d9a300 } .bad .note { fill: #fdecea; stroke: #b3261e }
  .good .note { fill: #e9f7ec; stroke: #116329 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #161b22; stroke: #3d444d } text { fill: #e6edf3 } .lane { stroke: #3d444d }
    .box { fill: #10263f; stroke: #79c0ff } .arrow { stroke: #79c0ff } .head { fill: #79c0ff }
    .good .arrow { stroke: #56d364 } .good .head, .good text { fill: #56d364 }
    .bad .arrow { stroke: #ff8a80 } .bad .head, .bad text { fill: #ff8a80 }
    .note { fill: #2b2410; stroke: #e3b341 } .bad .note { fill: #33191a; stroke: #ff8a80 }
    .good .note { fill: #12261a; stroke: #56d364 }
  }
"""


@dataclass
class Step:
    """
    A message from one lane to another; within one lane it is a note.
    """

    source: int
    target: int
    text: str
    kind: str = ""


def diagram(title: str, lanes: list[str], steps: list[Step], width: int = 720) -> str:
    """
    Return the diagram as SVG.
    """
    gap = width / len(lanes)
    centres = [gap * (number + 0.5) for number in range(len(lanes))]
    height = TOP + STEP * len(steps) + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="back" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="9"/>',
    ]
    for name, x in zip(lanes, centres, strict=True):
        half = max(52, len(name) * PER_CHARACTER / 2 + 14)
        parts += [
            f'<line class="lane" x1="{x:.0f}" y1="46" x2="{x:.0f}" y2="{height - 14}"/>',
            f'<rect class="box" x="{x - half:.0f}" y="16" width="{2 * half:.0f}" height="30" rx="5"/>',
            f'<text class="name" x="{x:.0f}" y="36" text-anchor="middle">{escape(name)}</text>',
        ]
    for number, step in enumerate(steps):
        y = TOP + STEP * number
        parts.append(f'<g class="{step.kind}">')
        parts += drawn(step, centres, y, width)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def drawn(step: Step, centres: list[float], y: float, width: int) -> list[str]:
    """
    Return one step as SVG.
    """
    start, end = centres[step.source], centres[step.target]
    if step.source == step.target:
        half = len(step.text) * PER_CHARACTER / 2 + 10
        start = min(max(start, half + 8), width - half - 8)
        return [
            f'<rect class="note" x="{start - half:.0f}" y="{y - 14:.0f}" width="{2 * half:.0f}" height="26" rx="5"/>',
            f'<text x="{start:.0f}" y="{y + 4:.0f}" text-anchor="middle">{escape(step.text)}</text>',
        ]
    way = 1 if end > start else -1
    tip = end - way * 2
    return [
        f'<path class="arrow" d="M{start:.0f} {y:.0f} H{tip - way * 6:.0f}"/>',
        f'<path class="head" d="M{tip:.0f} {y:.0f} l{-way * 9} -5 v10 z"/>',
        f'<text x="{(start + end) / 2:.0f}" y="{y - 7:.0f}" text-anchor="middle">{escape(step.text)}</text>',
    ]


RACE = [
    Step(0, 1, "read t1: not ready"),
    Step(2, 1, "read t1: not ready"),
    Step(0, 1, "write SUCCESS, value"),
    Step(1, 1, "a client reads the value and goes on"),
    Step(2, 1, "write FAILURE (lost worker)"),
    Step(1, 1, "the value is gone, and clients disagree", "bad"),
]
ELECTION = [
    Step(0, 1, "put SUCCESS unless ready"),
    Step(1, 0, "True: this is the record", "good"),
    Step(2, 1, "put FAILURE unless ready"),
    Step(1, 2, "False: a ready record is there", "good"),
    Step(1, 1, "every client reads the value, now and later", "good"),
]
WAIT = [
    Step(0, 1, "get(timeout=10)"),
    Step(1, 2, "1. subscribe"),
    Step(2, 1, "confirmed"),
    Step(1, 2, "2. read: is it there already?"),
    Step(2, 1, "not ready"),
    Step(1, 1, "3. wait for a notification, at most 5 s"),
    Step(3, 2, "put SUCCESS"),
    Step(2, 1, "notification"),
    Step(1, 2, "4. read the record"),
    Step(2, 1, "SUCCESS, value", "good"),
    Step(1, 0, "value", "good"),
]
DIAGRAMS = {
    "race": ("Read, then write: a result is replaced", ["worker", "store", "supervisor"], RACE),
    "election": (
        "One atomic step: the first ready record stays",
        ["worker", "store", "supervisor"],
        ELECTION,
    ),
    "waiting": (
        "A wait: subscribe, read, wait, read again",
        ["caller", "hub", "store", "worker"],
        WAIT,
    ),
}


def main() -> None:
    """
    Write all diagrams.
    """
    for name, (title, lanes, steps) in DIAGRAMS.items():
        (HERE / f"{name}.svg").write_text(diagram(title, lanes, steps), encoding="utf-8")


if __name__ == "__main__":
    main()
