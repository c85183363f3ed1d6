"""
coatcheck results in Redis and Valkey.

URLs: `redis://[user:password@]host[:port][/db]`, `redis+socket:///path`, `sentinel://`,
`redis+cluster://`, with TLS `rediss://`, and the same with `valkey`. See `settings` for the options.

    operations                  stores, reads and deletions, written once as generators
    sync, asyncio               the backends, which drive the operations
    link, sentinel, cluster     the way to a server, to a master, to a cluster
    pool, connections, parser   connections
    bell                        connections that listen

    settings, credentials, celerysettings       URLs, options, users
    script, errors, topology, subscription      commands, errors, slots and channels; no I/O

Modules named `asyncio_...` are the twins of those without, for asyncio.
"""

from .options import RedisOptions as RedisOptions

__version__ = "0.2.0"
