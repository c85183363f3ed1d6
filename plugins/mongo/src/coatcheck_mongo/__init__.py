"""
coatcheck results in MongoDB.

URLs: `mongodb://[user:password@]host[:port][,host...][/database][?options]`, `mongodb+srv://`. See
`settings` for the options.

    operations                 puts, reads and deletions with their decisions, once for both sides
    commands, requests,        the words for the server, the form of a request, the meaning of a reply
    answers
    sync, asyncio              the backends: they drive the operations
    link                       the client, the deadline of a try, and repeats
    stream, bell               the change stream that wakes waits, and its driver
    records, clock             documents, and the time on the server
    settings, celerysettings   the meaning of URLs and of Celery's settings
    errors                     the driver's errors, and ours for each

The asyncio twin of a module that does I/O has the same name with `asyncio_` before it.
"""

from .options import MongoOptions as MongoOptions

__version__ = "0.2.0"
