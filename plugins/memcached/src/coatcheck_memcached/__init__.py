"""
coatcheck results in Memcached.

URLs: `memcached://host[:port][;host[:port]...]`, `memcached+socket:///path`, and Celery's
`cache+memcached://...`. See `settings` for the options.

    sync                        the backend: what is asked for
    steps                       the commands of a read, a write, a deletion, and what replies mean
    link                        which server has a key, repeats, many servers at once
    pool, connection            the way to one server
    settings, names, errors     without I/O: URLs, keys, and what errors mean
    celerysettings              what the settings of Celery mean

The driver, pymemcache, says where keys are, as it does for Celery, and what server names mean. Its
clients are not used: their timeouts are for a single read of a socket, not for an operation, they
send one record with `cas` at a time, and `HashClient` places the keys of a dead server elsewhere.
"""

__version__ = "0.1.0"
