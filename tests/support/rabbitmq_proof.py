"""
The broker behind RabbitMQ's contract, and its delivered messages.
"""

from __future__ import annotations

import uuid

from coatcheck._coding.codec import Codec
from coatcheck._settings.url import URL
from coatcheck.testing.proof import SECRET
from coatcheck.testing.threads import until
from coatcheck_rpc.mailbox import Mailbox, mailbox_of
from coatcheck_rpc.settings import Settings

from .processes import free_port
from .rabbitmq import RabbitMQ


class RabbitMQProof:
    """
    Plants by messages of its own; a record is where its reader keeps it.
    """

    server: RabbitMQ

    def named(self) -> str:
        """
        Return the URL of a queue that nobody has.
        """
        return f"{self.server.url}?queue={uuid.uuid4()}"

    @property
    def mailbox(self) -> Mailbox:
        settings = Settings(URL(self.store_url), {}, operation_timeout=5)
        return mailbox_of(settings.address, settings.queue, life=settings.queue_expires)

    def raw_document(self, task_id):
        body = self.mailbox.get([task_id]).get(task_id)
        codec = Codec(accept=("json", "msgpack", "pickle"))
        return None if body is None else codec.decode(task_id, body).document

    def raw_plant(self, task_id, planted):
        with self.sync_results() as results:
            queue = results.backend.reply_to()
            self.server.publish(
                queue, planted.record, correlation_id=task_id, headers={"coatcheck-expires": 0}
            )
            assert until(lambda: self.mailbox.get([task_id]).get(task_id) == planted.record)

    def raw_ttl(self, key):
        return self.mailbox.left(key.removeprefix("celery-task-meta-"))

    def open_resources(self):
        return self.server.open_connections() + self.mailbox.bells

    def unreachable_url(self):
        return f"rpc://user:{SECRET}@127.0.0.1:{free_port()}/vhost"
