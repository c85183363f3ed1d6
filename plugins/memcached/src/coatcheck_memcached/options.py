"""
The types of the options of Memcached. `settings` reads them.
"""

from ssl import SSLContext
from typing import Literal, TypedDict


class MemcachedOptions(TypedDict, total=False):
    """Options for `by_url(url, **MemcachedOptions(...))`."""

    socket_timeout: float
    socket_connect_timeout: float
    socket_keepalive: bool
    max_connections: int
    max_item_size: int
    #: With TLS.
    tls: bool
    tls_context: SSLContext
    ssl_cert_reqs: Literal["required", "optional", "none"]
    ssl_ca_certs: str
    ssl_ca_path: str
    ssl_ca_data: str
    ssl_certfile: str
    ssl_keyfile: str
    ssl_password: str
    ssl_check_hostname: bool
