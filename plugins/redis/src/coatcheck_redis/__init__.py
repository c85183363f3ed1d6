"""
coatcheck results in Redis and Valkey.

URLs: `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS (verified by default),
`redis+socket:///path[?virtual_host=db]`, and `valkey://`. See `settings` for the options.
"""

__version__ = "0.1.0"
