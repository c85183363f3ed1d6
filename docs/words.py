"""
Find the words that only we would use: `python docs/words.py` tells each place, with a better word.

`nox -s lint` runs it over the pages at the root and in docs, and the READMEs of all distributions. It leaves
text in backticks alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: The words that our pages avoid, with those that users know.
WORDS = {
    r"(waits?|waiters?|hubs?|readers?|they|it|which) looks?(?! (for|like|up)\b)": "poll, read",
    r"(a|the|last|first|each|two|next) looks?(?! (of|at)\b)": "read, poll",
    r"rings?|rang|ringing": "notify, notification",
    r"(?<!sign of )(?<!signs of )life": "time to live",
    r"(go|goes|going) over (it|the|what|which|that|this)": "override",
    r"who (looks|reads|waits|writes|stores) (sees|gets|may)": "anyone who",
    r"for want of|in vain|likewise|in case of need": "without, for nothing, too, if needed",
}
BLOCK = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def found_in(text: str) -> Iterator[tuple[int, str, str]]:
    """
    Iterate over the words of *text* that have better ones, with their line numbers.
    """
    prose = BLOCK.sub(lambda match: re.sub(r"[^\n]", "·", match[0]), text)
    for pattern, better in WORDS.items():
        for match in re.finditer(rf"\b(?:{pattern})\b", prose, re.IGNORECASE):
            yield prose.count("\n", 0, match.start()) + 1, match[0], better


def main() -> int:
    """
    Tell each place; return whether there is one.
    """
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[cp]*/**/README.md")]
    told = [
        f"{page.relative_to(ROOT)}:{line}: {word!r}: {better}"
        for page in sorted(pages)
        for line, word, better in found_in(page.read_text(encoding="utf-8"))
    ]
    print("\n".join(told), end="\n" * bool(told))
    return bool(told)


if __name__ == "__main__":
    sys.exit(main())
