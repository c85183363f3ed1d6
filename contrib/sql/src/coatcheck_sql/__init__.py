"""
coatcheck results in relational databases, in Celery's tables.

URLs: `postgresql://user:password@host/database`, `mysql://`, `mariadb://`, and `db+` before any of
SQLAlchemy's URLs of these and of SQLite. See `settings` for the options.

    sync, asyncio                       the backends
    link, engines                       the way to the database: connections, a deadline, repeats
    work, operations                    what one call asks of the database, and how SQLAlchemy does it
    tables, statements                  the two tables: operations on rows, and their SQL
    dialect, dialects                   what the databases say and do differently:
    postgresql, mysql, sqlite           one module for each
    schema, catalog                     the tables: looked up, made, completed
    bounded, bounded_pymysql,           connections that keep to a deadline
    bounded_sqlite, limits, deadline
    wire                                statements, and how libpq sends them
    bell, listening                     who listens, and what rings
    records, letters, pickled           rows to records and back
    settings, driving, celerysettings   what URLs and Celery's settings mean
    errors                              which error of ours each of a driver's becomes

What does I/O has a twin for asyncio, named `asyncio_...`.
"""

from .options import SQLOptions as SQLOptions

__version__ = "0.2.0"
