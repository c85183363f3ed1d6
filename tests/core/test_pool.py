"""
Pools in forked children.
"""

from __future__ import annotations

from coatcheck.plugin import Pool


def test_idle_connections_are_left_to_the_parent():
    """A child hands over the connections that were idle, and opens its own."""
    left = []
    made = iter("abc")
    pool = Pool(lambda: next(made), left.append, limit=2, leave=left.extend)
    assert "a" == pool.lend(str, 1.0)

    pool.after_fork()

    assert ["a"] == left
    assert "b" == pool.lend(str, 1.0)
