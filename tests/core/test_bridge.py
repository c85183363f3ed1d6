"""
Synchronous backends under asyncio, at the edge of a loop's life.
"""

import asyncio
import threading
from concurrent.futures import thread as executors

import pytest

from coatcheck._backends.bridge import ThreadedBackend
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._settings.url import URL

PATIENCE = 20


async def until_collected(backend: ThreadedBackend, watching: asyncio.Future[None]) -> None:
    async with backend.watch(["a"]):
        watching.set_result(None)
        await asyncio.get_running_loop().create_future()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_lost_watch_is_collected_within_a_submission() -> None:
    """
    The garbage collector may find the watch of a lost loop while the same thread submits to an
    executor, whose lock it holds then. Closing the watch takes no lock.
    """
    backend = ThreadedBackend(MemoryBackend.from_url(URL("memory://lost")))
    loop = asyncio.new_event_loop()
    watching = loop.create_future()
    watch = until_collected(backend, watching)
    task = loop.create_task(watch)
    loop.run_until_complete(watching)

    def close() -> None:
        with executors._global_shutdown_lock:
            watch.close()

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(PATIENCE)

    assert not closing.is_alive()
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
