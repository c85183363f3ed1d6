"""
Check the built site: `python docs/site.py build/docs`, which `nox -s docs` runs after each build.

Each link leads to a page and an anchor of the site, each page is two clicks from the landing page, llms.txt lists
each page, and nothing is loaded from other servers: the site and its search work offline.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r'<a [^>]*?href="([^"]*)"')
ANCHOR = re.compile(r'\bid="([^"]*)"')
#: Only these elements load something; a link to another server is followed by people.
LOADED = re.compile(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="((?:https?:)?//[^"]*)"')
#: Pages that Sphinx makes besides ours.
INDEXES = {"genindex.html", "search.html", "py-modindex.html"}


def problems_of(site: Path) -> Iterator[str]:
    """
    Iterate over all that is wrong, one line for each.
    """
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: text for path, text in pages.items() if "_static" not in path.parts}
    anchors = {
        path: {unescape(name) for name in ANCHOR.findall(text)} for path, text in pages.items()
    }
    linked: dict[Path, set[Path]] = {path: set() for path in pages}
    for path, text in pages.items():
        for link in map(unescape, LINK.findall(text)):
            if re.match(r"\w+:", link):
                continue
            place, _, anchor = link.partition("#")
            target = (path.parent / unquote(place)).resolve() if place else path
            linked[path].add(target)
            if not target.is_file() or (
                anchor and unquote(anchor) not in anchors.get(target, {anchor})
            ):
                yield f"{path.relative_to(site)}: nothing is at {link}"
        for address in LOADED.findall(text):
            yield f"{path.relative_to(site)}: it loads {address}"

    near = linked[site / "index.html"] | {site / "index.html"}
    reached = near.union(*(linked.get(path, set()) for path in near))
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    for path in pages:
        name = path.relative_to(site).as_posix()
        if path not in reached and name not in INDEXES:
            yield f"{name}: more than two clicks from the landing page"
        if f"({name})" not in listed and name not in INDEXES and path.parent.name != "changes":
            yield f"{name}: not in llms.txt"


def main() -> int:
    """
    Print the problems; return whether there are any.
    """
    site = Path(sys.argv[1]).resolve()
    found = list(problems_of(site))
    print("\n".join(found) or "the site is whole: links, anchors, two clicks, llms.txt, offline")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
