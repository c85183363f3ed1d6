"""
coatcheck results in Memcached.

URLs: `memcached://host[:port][;host[:port]...]`, `memcached+socket:///path`, and Celery's
`cache+memcached://...`. See `settings` for the options.

    sync                        the backend: what is asked for
    steps                       a read, a write, a deletion, and what replies mean
    link                        which server has a key, repeats, several servers
    pool, connection            the driver's client for one server, and what is asked over it
    sockets, replies            what it sends and receives, bound by a deadline
    settings, names, errors     without I/O: URLs, keys, and what errors mean
    celerysettings              what the settings of Celery mean

The driver is pymemcache: its `Client` connects and reads statistics, and it says where keys are, as it
does for Celery. Ours are the deadline, the repeats, the election, and where the keys of a dead
server are, which its `HashClient` places elsewhere. What is stored is read and written by
`Connection` itself: the client's `cas` is for one record at a time, its batches lose the replies
behind a record that is refused, `ms` it does not know, and to read one value takes it as long as
the way to the server and back.
"""

from .options import MemcachedOptions as MemcachedOptions

__version__ = "0.2.0"
