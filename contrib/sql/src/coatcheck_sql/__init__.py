"""
coatcheck results in relational databases, in Celery's tables.

URLs: `postgresql://user:password@host/database`, `mysql://`, `mariadb://`, and `db+` before any URL that
SQLAlchemy has for these databases and for SQLite. See `settings` for the options.

    sync, asyncio                       the backends
    link, engines                       the way to the database: connections, a deadline, repeats
    work, operations                    the operations of both backends, and how SQLAlchemy runs them
    tables, statements                  the two tables: operations on rows, and their SQL
    dialect, dialects                   the differences between databases:
    postgresql, mysql, sqlite           one module for each
    schema, catalog                     the tables: looked up, created, completed
    bounded, bounded_pymysql,           connections that keep to a deadline
    bounded_sqlite, limits, deadline
    wire                                statements, and how libpq sends them
    bell, listening                     notifications
    records, letters, pickled           rows to records and back
    settings, driving, celerysettings   URLs and Celery's settings
    errors                              our error for each error of a driver

A module with I/O has a twin for asyncio, named `asyncio_...`.
"""

from .options import SQLOptions as SQLOptions

__version__ = "0.2.0"
