"""
coatcheck results in MongoDB.

URLs: `mongodb://[user:password@]host[:port][,host...][/database][?options]`, `mongodb+srv://`. See
`settings` for the options.

    sync, asyncio                       the backends: what is asked for
    link                                the client, and repeats
    bell                                the change stream that wakes those who wait
    settings, records, commands,        without I/O: what URLs, documents, commands and errors mean,
    errors, clock, stream               what time it is on the server, what a stream tells

What does I/O has a twin for asyncio, named `asyncio_...`.
"""

__version__ = "0.1.0"
