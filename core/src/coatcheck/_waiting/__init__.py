"""
Waits: when to look, and the hub that looks for everybody.

    waiter       one wait
    waits        all waits of a hub
    pacing       which tasks are due for a look, and when
    heartbeats   lost workers
    subscribed   the tasks that a subscription covers
    watch        the decisions of a hub: when to subscribe, look and listen
    hub          does it in a thread, asyncio_hub in a task
    timers       one timer of a loop for many waits
"""
