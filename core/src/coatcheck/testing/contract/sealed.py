"""
Records in envelopes: compressed and signed, and elected like any others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ... import SignatureError, WaitTimeoutError
from ..._results.results import Results
from ..history import History
from ..promises import promise
from ..proof import PATIENCE
from ..samples import HIDDEN, SEALED, SEALED_OTHERWISE
from ..threads import in_threads
from .case import Case

THREADS = 20
CLIENTS = 4


class Sealed(Case):
    """
    Promises 1 and 5, for records in envelopes.
    """

    @promise(1, 4, 5)
    def test_sealed_records(self, results: Results) -> None:
        """
        A signed record goes from state to state and stays when it is ready; who has another key
        believes neither its value nor its state, and still does not replace it.
        """
        value = {"text": "x" * 5000, "list": [1, None]}
        with (
            self.sync_results(**SEALED) as sealed,
            self.sync_results(**SEALED_OTHERWISE) as stranger,
        ):
            assert sealed.update_state("t", "PROGRESS", [1, 2])
            assert ("PROGRESS", [1, 2]) == (sealed.get_state("t"), sealed.get_result("t"))
            assert sealed.store_result("t", value)
            assert not sealed.store_result("t", "late")
            assert not sealed.update_state("t", "PROGRESS", "late")
            assert value == sealed.AsyncResult("t").get(timeout=PATIENCE)
            assert value == results.get_result("t")

            meta = stranger.get_task_meta("t")
            assert ("PENDING", True) == (meta.status, meta.known)
            assert isinstance(meta.error, SignatureError)
            with pytest.raises(WaitTimeoutError, match="not to be trusted"):
                stranger.wait_for("t", 0.05)
            assert not stranger.store_result("t", "forged")
            assert not results.store_result("t", "unsigned")
            assert value == sealed.get_result("t")

    @promise(1, 9)
    @pytest.mark.parametrize("options", [SEALED, HIDDEN], ids=["sealed", "hidden"])
    def test_race_of_sealed_records(self, options: dict[str, Any]) -> None:
        """
        Of many threads over several clients one is the first, again and again: where records are
        signed, and where the store cannot see their state.
        """
        clients = [self.sync_results(**options) for _ in range(CLIENTS)]
        try:
            for round_ in range(3):
                history, id_ = History(), f"t{round_}"
                values = [f"{n} {'x' * 500}" for n in range(THREADS)]
                in_threads(
                    partial(history.take_part, clients[n % CLIENTS], id_, value)
                    for n, value in enumerate(values)
                )

                assert [] == history.faults()
                assert history.winner == clients[0].get_result(id_)
        finally:
            for client in clients:
                client.close()
