"""
The types of the options of replies over RabbitMQ. `settings` reads them.
"""

from typing import Literal, TypedDict


class RPCOptions(TypedDict, total=False):
    """Options for `by_url(url, **RPCOptions(...))`."""

    queue: str
    reply_to: str
    queue_expires: float
    persistent: bool
    heartbeat: int
    #: With TLS.
    ssl_cert_reqs: Literal["required", "optional", "none"]
    ssl_ca_certs: str
    ssl_certfile: str
    ssl_keyfile: str
    ssl_check_hostname: bool
