"""
Every store under faults, for a few seconds each: the short form of run.py.
"""

from __future__ import annotations

import pytest
from support.chaos import STORES

from coatcheck.testing.chaos import Plan, run

pytestmark = pytest.mark.chaos


#: The driver for asyncio loses the socket of a monitor that is cancelled as it connects.
LOSSY = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
MONGO = {"mongo", "replica_set"}


@pytest.mark.parametrize(
    "store", [pytest.param(store, marks=[LOSSY] * (store in MONGO)) for store in STORES]
)
def test_store_under_faults(store, tmp_path):
    """
    Nothing acknowledged is lost or changed, one writer wins, no wait hangs, no error is not ours.
    """
    with STORES[store](tmp_path) as subject:
        report = run(subject, Plan(seconds=10, pause=(0.1, 0.4)))

    assert [] == report.violations
    assert report.winners
    assert sum(report.faults.values()) >= min(len(subject.faults), 3)
