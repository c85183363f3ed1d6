"""
Random numbers for pauses and phases.
"""

from __future__ import annotations

from random import Random
from typing import Final

from . import forks

#: Pauses vary by this fraction, so that many waiters do not look at once.
JITTER: Final = 0.1


class Dice(Random):
    """Random numbers for pauses, not for secrets. Forked processes get different ones."""

    def __init__(self) -> None:
        super().__init__()
        forks.register(self)

    def after_fork(self) -> None:
        """Begin another sequence."""
        self.seed()


#: Returns a number from 0 up to 1.
random: Final = Dice().random


def jittered(pause: float) -> float:
    """Return *pause*, shortened by a random part of `JITTER`."""
    return pause * (1 - JITTER * random())
