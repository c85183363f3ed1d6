"""
`coatcheck certify` on a store that has no keys to prefix.
"""

from __future__ import annotations

import json
import re

import pytest
from support.cli import CommandLine

import coatcheck


def run(tmp_path, *arguments):
    """Return the status of the command, and what it said."""
    process = CommandLine(tmp_path).start("certify", *arguments)
    stdout, stderr = process.communicate(timeout=500)
    return process.returncode, stdout, stderr


def test_a_place_in_use(tmp_path):
    """A table with records is refused, and stays as it is."""
    url = f"db+sqlite:///{tmp_path}/used.db"
    with coatcheck.by_url(url) as results:
        results.store_result("t", 1)
        status, stdout, stderr = run(tmp_path, url)

        assert (2, "") == (status, stdout)
        assert "name an empty place" in stderr
        assert ["t"] == [meta.task_id for meta in results.scan()]


def test_an_empty_table(tmp_path):
    """Beside a table with records an empty one is certified, and is empty again in the end."""
    url = f"db+sqlite:///{tmp_path}/shared.db"
    own = f"{url}?task_table=certified&group_table=certified_groups"
    with coatcheck.by_url(url) as others, coatcheck.by_url(own) as results:
        others.store_result("t", 1)
        status, stdout, stderr = run(tmp_path, own, "--quick", "--json")

        assert 0 == status, stdout + stderr
        assert 0 == json.loads(stdout)["left"]
        assert [] == list(results.scan())
        assert ["t"] == [meta.task_id for meta in others.scan()]


@pytest.mark.parametrize(
    ("kind", "version"),
    [("postgresql", "PostgreSQL"), ("mariadb", "MariaDB"), ("sqlite", "SQLite")],
)
def test_the_servers_version(request, kind, version):
    """The checkup names the server and its version."""
    with coatcheck.by_url(request.getfixturevalue(kind).url) as results:
        assert re.match(rf"{version} \d+\.\d+", results.backend.checkup().version())
