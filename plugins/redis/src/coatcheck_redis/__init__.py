"""
coatcheck results in Redis and Valkey.

URLs: `redis://[user:password@]host[:port][/db]`, `redis+socket:///path`, `sentinel://`,
`redis+cluster://`, with TLS `rediss://`, and the same with `valkey`. See `settings` for the options.

    sync, asyncio                       the backends: what is asked for
    link, sentinel, cluster             the way to the server that is asked, and repeats
    pool, parser                        connections that are lent, and what they read
    bell                                who listens where
    settings, script, errors            without I/O: what URLs, commands and errors mean,
    topology, subscription              where keys are, what a subscriber hears
    celerysettings                      what the settings of Celery mean

What does I/O has a twin for asyncio, named `asyncio_...`.
"""

__version__ = "0.2.0"
