"""
Dramatiq: a middleware that stores the outcome of each actor with coatcheck.
"""

import dramatiq

import coatcheck


class StoreResults(dramatiq.Middleware):
    """
    Stores values and failures under the message's id. Failures that are retried are recorded as RETRY.
    """

    def __init__(self, results: coatcheck.Results) -> None:
        self.results = results

    def before_process_message(self, broker, message):
        """
        Record that the task has started.
        """
        self.results.mark_as_started(message.message_id, name=message.actor_name)

    def after_process_message(self, broker, message, *, result=None, exception=None):
        """
        Record the outcome. Dramatiq's Retries middleware, which ran before, has set `failed`.
        """
        task_id, fields = message.message_id, {"name": message.actor_name}
        if exception is None:
            self.results.store_result(task_id, result, **fields)
        elif message.failed:
            self.results.mark_as_failure(task_id, exception, **fields)
        else:
            self.results.mark_as_retry(task_id, exception, **fields)


def install(broker: dramatiq.Broker, results: coatcheck.Results) -> None:
    """
    Add the middleware so that it runs after Retries, which decides whether a message has failed.
    """
    broker.add_middleware(StoreResults(results), before=dramatiq.middleware.Retries)
