"""
Records in envelopes: compressed and signed, and elected like any others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from ... import SignatureError, WaitTimeoutError
from ...aio import Results
from ..promises import promise
from ..proof import PATIENCE
from ..samples import HIDDEN, SEALED, SEALED_OTHERWISE
from ..sides import together, until
from ..threads import Not
from .case import Case

WRITERS = 20
CLIENTS = 4


async def is_not_trusted(results: Results, task_id: str) -> bool | Not:
    """Whether a wait for *task_id* reports that its record cannot be trusted."""
    with pytest.raises(WaitTimeoutError) as caught:
        await results.wait_for(task_id, 0.05)
    return "not to be trusted" in str(caught.value) or Not(str(caught.value))


class Sealed(Case):
    """Promises 1 and 5, for records in envelopes."""

    @promise(1, 4, 5)
    async def test_sealed_records(self, results: Results) -> None:
        """
        A signed record behaves as any other; a reader with another key neither believes nor
        replaces it.
        """
        value = {"text": "x" * 5000, "list": [1, None]}
        async with (
            self.new_results(**SEALED) as sealed,
            self.new_results(**SEALED_OTHERWISE) as stranger,
        ):
            assert await sealed.update_state("t", "PROGRESS", [1, 2])
            assert "PROGRESS" == await sealed.get_state("t")
            assert [1, 2] == await sealed.get_result("t")
            assert await sealed.store_result("t", value)
            assert not await sealed.store_result("t", "late")
            assert not await sealed.update_state("t", "PROGRESS", "late")
            assert value == await sealed.AsyncResult("t").get(timeout=PATIENCE)
            assert value == await results.get_result("t")

            meta = await stranger.get_task_meta("t")
            assert ("PENDING", True) == (meta.status, meta.known)
            assert isinstance(meta.error, SignatureError)
            await until(partial(is_not_trusted, stranger, "t"))
            assert not await stranger.store_result("t", "forged")
            assert not await results.store_result("t", "unsigned")
            assert value == await sealed.get_result("t")

    @promise(1, 9)
    @pytest.mark.parametrize("options", [SEALED, HIDDEN], ids=["sealed", "hidden"])
    async def test_race_of_sealed_records(self, options: dict[str, Any]) -> None:
        """Of many writers one is first, even if records are signed or hide their state."""
        clients = [self.new_results(**options) for _ in range(CLIENTS)]
        try:
            for round_ in range(3):
                id_ = f"t{round_}"
                values = [f"{n} {'x' * 500}" for n in range(WRITERS)]
                updates = (
                    clients[n % CLIENTS].update_state(id_, "PROGRESS", value)
                    for n, value in enumerate(values)
                )
                assert all(await together(updates))
                stores = (
                    clients[n % CLIENTS].store_result(id_, value) for n, value in enumerate(values)
                )
                won = await together(stores)

                kept = [value for value, first in zip(values, won, strict=True) if first]
                assert [await clients[0].get_result(id_)] == kept
        finally:
            for client in clients:
                await client.close()
