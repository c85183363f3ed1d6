"""
A forked child that crashes fails the test.
"""

import os
import signal

import pytest

from coatcheck.testing.forking import on_both_sides


def test_a_child_that_crashes_is_noticed():
    """
    It has no traceback to tell.
    """

    def act(side):
        if side == "child":
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(AssertionError, match="the forked child ended with -9"):
        on_both_sides(act)
