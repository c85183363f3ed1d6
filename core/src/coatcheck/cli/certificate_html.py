"""
The report of `coatcheck certify` as one page of HTML, which needs no other file.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from ..testing.promises import PROMISES
from .certificate import counted, facts, left_behind, verdict

if TYPE_CHECKING:
    from ..testing.certificate import Certificate, Test

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
th { text-align: left; font-weight: normal; color: #666; padding-right: 2rem }
td, th { vertical-align: top }
pre { overflow-x: auto; background: #8881; padding: .5rem }
.kept { color: #17803d } .broken { color: #b91c1c } .left { color: #777 }
summary { cursor: pointer }
:root { color-scheme: light dark }
"""


def as_html(found: Certificate) -> str:
    """Return the page."""
    rows = "".join(f"<tr><th>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in facts(found))
    left_out = "".join(
        f"<li>{escape(reason)}: {escape(', '.join(names))}</li>"
        for reason, names in found.left_out().items()
    )
    errors = "".join(f"<p class=broken>{escape(error)}</p>" for error in found.errors)
    return f"""<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>coatcheck certify {escape(found.url)}</title><style>{_STYLE}</style>
<h1>{escape(verdict(found))}</h1>
<table>{rows}</table>
<h2>Promises</h2>{"".join(_promise(found, number) for number in PROMISES)}
{"<h2>What broke</h2>" if found.broken else ""}{"".join(map(_broken, found.broken))}
<h2>Left out</h2><ul>{left_out}</ul>
{errors}<p>{escape(left_behind(found))}</p>
</html>
"""


def _promise(found: Certificate, number: int) -> str:
    tests, outcome = found.of_promise(number), found.promises[number]
    rows = "".join(
        f"<tr><td>{_mark(test.outcome)}</td><td>{test.side}</td><td>{escape(test.name)}</td>"
        f"<td>{test.seconds:.2f} s</td></tr>"
        for test in tests
    )
    said = f"{number}. {escape(PROMISES[number])} ({counted(tests)})"
    return f"<details><summary>{_mark(outcome)} {said}</summary><table>{rows}</table></details>"


def _mark(outcome: str) -> str:
    return f"<span class={outcome.split(maxsplit=1)[0]}>{outcome}</span>"


def _broken(test: Test) -> str:
    promises = "".join(f"<p>Promise {n}: {escape(PROMISES[n])}</p>" for n in test.promises)
    return (
        f"<h3>{escape(test.name)}, {test.side} side</h3>{promises}<p>Expected: {escape(test.expected)}</p>"
        f"<p>Happened:</p><pre>{escape(test.reason)}</pre>"
        f"<p>The backend's last operations, with their answers:</p><pre>{escape(test.operations)}</pre>"
    )
