"""
The types of the options of Redis and Valkey. `settings` reads them.
"""

from typing import Any, Literal, TypedDict


class RedisOptions(TypedDict, total=False):
    """Options for `by_url(url, **RedisOptions(...))`."""

    db: int
    username: str
    password: str
    #: An object that follows redis-py's protocol, or the import path of its class.
    credential_provider: Any
    client_name: str
    socket_timeout: float
    socket_connect_timeout: float
    socket_keepalive: bool
    socket_read_size: int
    health_check_interval: int
    max_connections: int
    #: With TLS.
    ssl_cert_reqs: Literal["required", "optional", "none"]
    ssl_ca_certs: str
    ssl_ca_path: str
    ssl_ca_data: str
    ssl_certfile: str
    ssl_keyfile: str
    ssl_password: str
    ssl_check_hostname: bool
    ssl_ciphers: str
    #: With sentinels.
    master_name: str
    sentinel_username: str
    sentinel_password: str
    sentinel_kwargs: dict[str, Any]
    min_other_sentinels: int
