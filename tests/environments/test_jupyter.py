"""
A notebook: its cells run inside a loop that goes on between them.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.environments

CELLS = [
    "import asyncio, uuid, coatcheck\nfrom coatcheck import aio\nURL = {url!r}",
    # Synchronous code blocks the loop, and works.
    """
results = coatcheck.by_url(URL)
id_ = str(uuid.uuid4())
assert results.store_result(id_, 1)
assert results.AsyncResult(id_).get(timeout=30) == 1
""",
    # A task of one cell goes on in the next.
    """
aresults = aio.by_url(URL)
late = str(uuid.uuid4())
waiting = asyncio.ensure_future(aresults.wait_for(late, 30))
assert await aresults.store_result(str(uuid.uuid4()), 1)
""",
    """
with results.running(late, heartbeat=1) as task:
    task.result = 2
assert (await waiting).result == 2
assert await aresults.AsyncResult(id_).get(timeout=30) == 1
""",
    # Both are closed and used again, as people run cells twice.
    """
results.close()
await aresults.close()
assert results.get_result(late) == 2
assert await aresults.get_result(late) == 2
results.close()
await aresults.close()
""",
    "print('ok')",
]


def test_cells_on_all_stores(urls):
    """
    Cells with `await` and cells with synchronous code use one store, one after the other.
    """
    import nbclient  # of the session `environments` alone
    import nbformat

    cells = [cell.replace("{url!r}", repr(url)) for url in urls.values() for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])

    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    assert ["ok\n"] * len(urls) == [
        output["text"] for cell in notebook.cells for output in cell["outputs"]
    ]
