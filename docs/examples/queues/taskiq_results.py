"""
Taskiq: a result backend that stores with coatcheck. The broker is given one in `with_result_backend`.
"""

from typing import Any

from taskiq import AsyncResultBackend, TaskiqResult
from taskiq.exceptions import ResultGetError

from coatcheck import aio


class CoatcheckBackend(AsyncResultBackend[Any]):
    """
    Keeps Taskiq's results in coatcheck's records, which any other process reads and awaits.
    """

    def __init__(self, results: aio.Results) -> None:
        self.results = results

    async def shutdown(self) -> None:
        """
        Close the connections.
        """
        await self.results.close()

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """
        Store the outcome.
        """
        if result.error is None:
            await self.results.store_result(task_id, result.return_value)
        else:
            await self.results.mark_as_failure(task_id, result.error)

    async def get_result(self, task_id: str, *_: object, **__: object) -> TaskiqResult[Any]:
        """
        Return the outcome in Taskiq's form.
        """
        meta = await self.results.get_task_meta(task_id)
        if not meta.ready:
            raise ResultGetError
        try:
            value, error = meta.get(), None
        except Exception as failure:  # noqa: BLE001 - of any class: it is the task's
            value, error = None, failure
        return TaskiqResult(
            is_err=error is not None, return_value=value, error=error, execution_time=0
        )

    async def is_result_ready(self, task_id: str) -> bool:
        """
        Return whether the task is over.
        """
        return (await self.results.get_task_meta(task_id)).ready


async def wait_for(backend: CoatcheckBackend, task: Any, timeout: float) -> Any:
    """
    Await a task without polling: Taskiq's own `wait_result` asks five times a second.
    """
    handle: aio.AsyncResult[Any] = backend.results.AsyncResult(task.task_id)
    return await handle.get(timeout=timeout)
