"""
coatcheck results in Memcached.

URLs: `memcached://host[:port][;host[:port]...]`, `memcached+socket:///path`, and Celery's
`cache+memcached://...`. See `settings` for the options.

    sync                        the backend
    steps, recent               reads, writes, deletions, and the meaning of replies
    link                        the server of a key, repeats, several servers
    pool, connection            the driver's client for one server, and our commands
    sockets, replies            bytes, within a deadline
    settings, names, errors     URLs, keys and errors; no I/O
    celerysettings              the settings of Celery

The driver is pymemcache. Its `Client` connects, and its hash distributes the keys, as for Celery. The deadline,
the repeats and the election are ours, and a dead server keeps its keys, which `HashClient` would give to
others. `Connection` reads and writes records itself: the client's `cas` is for one record at a time, its
batches lose the replies after a record that is refused, it does not know `ms`, and reading one value takes it
as long as the way to the server and back.
"""

from .options import MemcachedOptions as MemcachedOptions

__version__ = "0.2.0"
