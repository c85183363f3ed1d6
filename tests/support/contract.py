"""
The marks of the contract's own tests, for those who run a part of them.
"""

from __future__ import annotations

import os


def is_core_only() -> bool:
    """
    Whether only the core of the contract is asked for. To collect the rest takes as long as a quick run.
    """
    return os.environ.get("COATCHECK_TESTING_CONTRACT") == "core"


def is_core(item) -> bool:
    """Tell whether *item* is one of the few tests of the contract that tell most."""
    return hasattr(getattr(item, "function", None), "contract_core")


def is_expiring(item) -> bool:
    """Tell whether *item* is a test of the contract that waits until records expire."""
    return hasattr(getattr(item, "function", None), "contract_expiry")
