"""
What holds connections cannot be pickled or copied, and the error shows no secret.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, dataclass

import pytest

import coatcheck
import coatcheck.aio

URL = "redis://:s3cret-word@127.0.0.1:1/0"


@dataclass
class Job:
    """Has a handle, as an application's own class may."""

    handle: object


@pytest.mark.parametrize("side", [coatcheck, coatcheck.aio])
@pytest.mark.parametrize(
    "copied",
    [pickle.dumps, copy.deepcopy, lambda held: asdict(Job(held))],
    ids=["pickle", "copy", "dataclass"],
)
def test_nothing_secret_is_said(side, copied):
    """The error of a pickle names the way out, and no secret."""
    with pytest.raises(TypeError, match=r"by_url\(url\)") as caught:
        copied(side.by_url(URL))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(TypeError, match=r"by_url\(url\)\.AsyncResult\(task_id\)"):
        copied(side.by_url(URL).AsyncResult("t"))
