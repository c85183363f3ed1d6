"""
Settings that the worker of each queue gives to its adapter.
"""

from __future__ import annotations

import os
from typing import Any

from coatcheck.testing.jobs import EXPIRES, HEARTBEAT, Recorder


def settings() -> dict[str, Any]:
    """Return the arguments of the worker's adapter, but for the store."""
    return {
        "heartbeat": HEARTBEAT,
        "expires": EXPIRES,
        "plugins": [Recorder(os.environ["TESTS_RECORD"])],
    }
