"""
coatcheck results in MongoDB.

URLs: `mongodb://[user:password@]host[:port][,host...][/database][?options]`, `mongodb+srv://`. See
`settings` for the options.

    sync, asyncio                       the backends: what is asked for
    link                                the client, and repeats
    bell                                the change stream that wakes those who wait
    settings, celerysettings, records,  without I/O: what URLs, Celery's settings, documents, commands,
    commands, answers, errors,          answers and errors mean, what time it is on the server, what
    clock, stream                       a stream tells

What does I/O has a twin for asyncio, named `asyncio_...`.
"""

__version__ = "0.2.0"
