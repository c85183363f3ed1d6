"""
The marks of the contract's own tests, for those who run a part of them.
"""

from __future__ import annotations


def is_core(item) -> bool:
    """Tell whether *item* is one of the few tests of the contract that tell most."""
    return hasattr(getattr(item, "function", None), "contract_core")


def is_expiring(item) -> bool:
    """Tell whether *item* is a test of the contract that waits until records expire."""
    return hasattr(getattr(item, "function", None), "contract_expiry")
