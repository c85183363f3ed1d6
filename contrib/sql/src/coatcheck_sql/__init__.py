"""
coatcheck results in relational databases, in Celery's tables.

URLs: `postgresql://user:password@host/database`, `mysql://`, `mariadb://`, and `db+` before any of
SQLAlchemy's URLs of these and of SQLite. See `settings` for the options.

    sync, asyncio                       the backends: what is asked for
    link                                the way to the database: an engine, a deadline, repeats
    work                                what is done with a connection, for both colours
    schema, catalog                     the tables: made, completed, looked up
    bell, bounded                       who listens, and connections that keep to a deadline
    wire                                what single statements are to libpq, and their answers
    settings, statements, records,      without I/O: what URLs, statements, rows, errors and
    errors, pickled, listening          notifications mean
    celerysettings                      what the settings of Celery mean

What does I/O has a twin for asyncio, named `asyncio_...`.
"""

__version__ = "0.2.0"
