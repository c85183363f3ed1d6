"""
coatcheck results in Memcached.

URLs: `memcached://host[:port][;host[:port]...]`, `memcached+socket:///path`, and Celery's
`cache+memcached://...`. See `settings` for the options.

    sync                        the backend: what is asked for
    steps                       a read, a write, a deletion, and what replies mean
    link                        which server has a key, repeats, several servers
    pool, connection, sockets   the driver's client for one server, bound by a deadline
    settings, names, errors     without I/O: URLs, keys, and what errors mean
    celerysettings              what the settings of Celery mean

The driver is pymemcache: its `Client` connects, sends and reads, and it says where keys are, as it
does for Celery. Ours are the deadline, the repeats, the election, and where the keys of a dead
server are, which its `HashClient` places elsewhere. What is written goes by the client's protected
`_misc_cmd`: its `cas` is for one record at a time, and its batches lose the replies behind a record
that is refused.
"""

__version__ = "0.1.0"
