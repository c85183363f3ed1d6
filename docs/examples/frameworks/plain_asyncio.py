"""
asyncio without a framework: many waits at once, a deadline for all of them, and the first to end.

    COATCHECK_URL=sqlite:///results.db python plain_asyncio.py
"""

import asyncio

import coatcheck
from coatcheck import aio


async def work(results: aio.Results, task_id: str, seconds: float) -> None:
    """
    Run one task. An exception in the block becomes the task's failure.
    """
    async with results.running(task_id, heartbeat=10) as task:
        await asyncio.sleep(seconds)
        task.result = f"{task_id} took {seconds} s"


async def main() -> None:
    """
    Start three tasks and wait for them in three ways.
    """
    seconds = {"quick": 0.1, "slow": 0.3, "endless": 60.0}
    async with aio.by_url() as results, asyncio.TaskGroup() as group:
        for task_id in seconds:
            await results.forget(task_id)  # so that you can run this twice
        workers = {id_: group.create_task(work(results, id_, s)) for id_, s in seconds.items()}

        # One after the other, in the order of their ends.
        async for meta in results.as_completed(["slow", "quick"], timeout=10):
            print(meta.task_id, meta.status)

        # All at once: as many coroutines as you like share two connections.
        print(await asyncio.gather(*map(results.AsyncResult, ["quick", "slow"])))

        # A deadline. asyncio.timeout() works as well; a cancelled wait leaves nothing behind.
        try:
            await results.AsyncResult("endless").get(timeout=0.2)
        except coatcheck.WaitTimeoutError as error:
            print(error)

        workers["endless"].cancel()  # is recorded as REVOKED
        print((await results.wait_for("endless", timeout=10)).status)


if __name__ == "__main__":
    asyncio.run(main())
