"""
`coatcheck doctor` on real databases: a sound one yields no finding, and each planted fault yields its own.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from support.doctor import diagnose
from support.sql import MariaDBServer, PgBouncer, PostgreSQLServer

import coatcheck
import coatcheck_sql.checkup
from coatcheck._doctor import probing
from coatcheck._embedded import disk

STORES = ("postgresql", "mariadb", "sqlite")


@pytest.fixture(params=STORES)
def database(request: pytest.FixtureRequest) -> Any:
    """Each kind of database, with our tables."""
    database = request.getfixturevalue(request.param)
    with coatcheck.by_url(database.url) as results:
        results.store_result("good", 1)
    return database


def test_a_sound_database(database: Any) -> None:
    """
    A sound database yields no fault, and keeps nothing of the doctor.
    """
    found = diagnose(database.url)

    assert set() == found.faults
    assert "all of 1 sampled records expire" in found["expiry"]
    assert [("good",)] == [
        tuple(row) for row in database.execute("SELECT task_id FROM celery_taskmeta")
    ]


def test_indexes(database: Any) -> None:
    """
    A missing index is found, with the statement that makes it.
    """
    on = " ON celery_taskmeta" if "mariadb" in database.url else ""
    database.execute(f"DROP INDEX ix_celery_taskmeta_expires_at{on}")
    found = diagnose(database.url)

    assert {("index", "warning")} == found.faults
    statement = found["index"].partition("-> ")[2]
    assert "ON celery_taskmeta (expires_at)".replace("`", "") in statement.translate(
        {96: "", 34: ""}
    )
    database.execute(statement)
    assert set() == diagnose(database.url).faults


def test_versions(database: Any) -> None:
    """
    Tables of a later version are broken. Those of Celery are a warning to readers.
    """
    database.execute("UPDATE coatcheck_versions SET version = 99")
    later = diagnose(database.url)
    database.execute("DROP TABLE coatcheck_versions")

    assert {("schema", "broken")} == later.faults - {("store", "broken")}
    assert {("schema", "warning")} == diagnose(f"{database.url}?read_only=1").faults


def test_version(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A server that is older than needed is found. SQLite comes with Python.
    """
    oldest = coatcheck_sql.checkup.OLDEST
    later = {**dict.fromkeys(oldest, (99,)), "SQLite": oldest["SQLite"]}
    monkeypatch.setattr(coatcheck_sql.checkup, "OLDEST", later)

    expected = set() if "sqlite" in database.url else {("version", "broken")}
    assert expected == diagnose(database.url).faults


def test_records_without_expiry(database: Any) -> None:
    """
    Records that never expire are counted, those of Celery as well as ours.
    """
    with coatcheck.by_url(database.url) as results:
        results.store_result("kept", 1, expires=None)
    number = "nextval('task_id_sequence')" if "postgresql" in database.url else "99"
    if "mariadb" in database.url:
        number = "NEXTVAL(task_id_sequence)"
    database.execute(
        "INSERT INTO celery_taskmeta (id, task_id, status, date_done) "
        f"VALUES ({number}, 'old', 'SUCCESS', '2026-01-01 00:00:00')"
    )
    found = diagnose(database.url)

    assert {("expiry", "warning")} == found.faults
    assert "2 of 3 sampled records never expire" in found["expiry"]


def test_clocks(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A clock of this machine that differs from the server's is found. A file has no clock.
    """
    monkeypatch.setattr(probing, "wall", lambda: time.time() - 3600)

    expected = set() if "sqlite" in database.url else {("clock", "warning")}
    assert expected == diagnose(database.url).faults


def test_the_disk(sqlite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A file's disk is checked as well.
    """
    monkeypatch.setattr(disk, "LEAST", 1 << 62)

    assert {("disk", "warning")} == diagnose(sqlite.url).faults


def test_small_packets(mariadb: MariaDBServer) -> None:
    """
    A `max_allowed_packet` that refuses records of a megabyte is found.
    """
    (before,) = mariadb.execute("SELECT @@GLOBAL.max_allowed_packet")[0]
    mariadb.execute("SET GLOBAL max_allowed_packet = 1048576")
    try:
        found = diagnose(mariadb.url)
    finally:
        mariadb.execute(f"SET GLOBAL max_allowed_packet = {before}")

    assert {("record size", "warning")} == found.faults
    assert "max_allowed_packet" in found["record size"]


def test_permissions(postgresql: PostgreSQLServer) -> None:
    """
    A user who may only read cannot store.
    """
    with coatcheck.by_url(postgresql.url) as results:
        results.store_result("good", 1)
    postgresql.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN")
    postgresql.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    try:
        found = diagnose(postgresql.url.replace("postgres@", "reader@"))
    finally:
        postgresql.execute("DROP OWNED BY reader; DROP ROLE reader")

    assert {("store", "broken")} == found.faults
    assert "permission denied" in found["store"]


def test_a_pooler(postgresql: PostgreSQLServer) -> None:
    """
    A pooler by transaction breaks prepared statements and notifications; with the options for it all is sound.
    """
    with PgBouncer(postgresql) as pooler:
        found = diagnose(pooler.url)
        told = f"{pooler.url}?pgbouncer=true&listen_url={quote(postgresql.url, safe='')}"

        assert ("pooler", "warning") in found.faults
        assert "pgbouncer=true" in found["pooler"]
        assert "listen_url=" in found["pooler"]
        assert set() == diagnose(told).faults


def test_nobody_listens(database: Any) -> None:
    """
    A port where nobody listens, or a name that nobody has, ends the checks.
    """
    if "sqlite" in database.url:
        url, step = f"db+sqlite:///{database.path}/results.db", "login"
    else:
        url, step = database.url.replace("127.0.0.1", "nowhere.invalid"), "name"
    found = diagnose(f"{url}?operation_timeout=1")

    assert {(step, "broken")} == found.faults
    assert 1 == len(found.findings)


# -- TLS --------------------------------------------------------------------------------------

#: The server's options for its certificate, and those of a URL that has it verified.
KINDS = {
    "postgresql": (
        PostgreSQLServer,
        ["ssl=on", "ssl_cert_file={0}/cert.pem", "ssl_key_file={0}/key.pem"],
        "sslmode=verify-full&sslrootcert={0}/ca.pem",
    ),
    "mariadb": (
        MariaDBServer,
        ["--ssl-cert={0}/cert.pem", "--ssl-key={0}/key.pem"],
        "ssl_ca={0}/ca.pem",
    ),
}


@pytest.fixture(params=KINDS)
def encrypted(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return a function that starts a server with a certificate valid for some days."""
    make, options, query = KINDS[request.param]
    server: Any = make()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(server.directory / "ca.pem")

    def start(days: float) -> str:
        leaf = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=days))
        leaf.private_key_pem.write_to_path(server.directory / "key.pem")
        leaf.cert_chain_pems[0].write_to_path(server.directory / "cert.pem")
        (server.directory / "key.pem").chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(server.directory / "key.pem", server.user, server.user)
        server.start(*(option.format(server.directory) for option in options))
        return f"{server.url}?{query.format(server.directory)}"

    try:
        yield start
    finally:
        server.__exit__()


def test_a_certificate_that_ends_soon(encrypted: Any) -> None:
    """
    TLS is a step of its own, although both databases begin in plain text, and the certificate is looked at.
    """
    found = diagnose(encrypted(5))

    assert {("certificate", "warning")} == found.faults
    assert "speaks TLSv1" in found["tls"]


def test_a_certificate_that_has_ended(encrypted: Any) -> None:
    """
    A certificate that has ended breaks the store.
    """
    assert {("tls", "broken")} == diagnose(encrypted(-1)).faults
