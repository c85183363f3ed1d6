"""
The version that a report of `coatcheck certify` names.
"""

from __future__ import annotations

import re

import coatcheck


def test_the_servers_version(server):
    """The checkup names the server and its version."""
    with coatcheck.by_url(server.url) as results:
        version = results.backend.checkup().version()

    assert re.fullmatch(r"MongoDB \d+\.\d+\.\d+", version)
