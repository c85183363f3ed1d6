"""
Synchronous backends under asyncio, at the edge of a loop's life.
"""

import asyncio
import threading

import pytest

from coatcheck._backends.bridge import ThreadedBackend
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._settings.url import URL
from coatcheck.testing.threads import until


async def until_collected(backend: ThreadedBackend, watching: asyncio.Future[None]) -> None:
    async with backend.watch(["a"]):
        watching.set_result(None)
        await asyncio.get_running_loop().create_future()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_lost_watch_is_collected_in_any_thread() -> None:
    """
    The garbage collector may find the watch of a lost loop in any thread and in the middle of anything.
    Closing the watch takes no lock, and ends the bell's thread.
    """
    inner = MemoryBackend.from_url(URL("memory://lost"))
    backend = ThreadedBackend(inner)
    loop = asyncio.new_event_loop()
    watching = loop.create_future()
    watch = until_collected(backend, watching)
    task = loop.create_task(watch)
    loop.run_until_complete(watching)
    assert inner._space.bells

    closing = threading.Thread(target=watch.close)
    closing.start()
    closing.join()

    until(lambda: not inner._space.bells)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
