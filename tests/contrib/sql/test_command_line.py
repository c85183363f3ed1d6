"""
What `coatcheck backends` says of databases.
"""

import json

from coatcheck.cli import main


def test_capabilities_are_those_of_a_url(capsys):
    """
    What depends on the scheme is as a backend for it has it.
    """
    assert 0 == main(["backends", "--json"])
    listed = {row["scheme"]: row for row in json.loads(capsys.readouterr().out)["schemes"]}

    assert "PUSH" in listed["postgresql"]["sync"]["capabilities"]
    assert "PUSH" in listed["postgresql"]["asyncio"]["capabilities"]
    assert "PUSH" not in listed["mysql"]["sync"]["capabilities"]
