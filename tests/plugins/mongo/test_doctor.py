"""
`coatcheck doctor` on real servers: a sound one yields no finding, and each planted fault yields its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from support.doctor import diagnose
from support.mongo import MongoServer, ReplicaSet, until
from support.processes import free_port

import coatcheck
import coatcheck_mongo.checkup
from coatcheck._doctor import probing


def test_a_sound_set(server: MongoServer) -> None:
    """
    A sound replica set yields no fault, and keeps nothing of the doctor.
    """
    found = diagnose(server.url)

    assert set() == found.faults
    assert "wakes its waiters" in found["notification"]
    assert [] == list(server.client.results.celery_taskmeta.find())


def test_a_server_that_stands_alone(standalone: MongoServer) -> None:
    """
    A server without a replica set cannot wake waiters, and is told how to.
    """
    found = diagnose(standalone.url)

    assert {("replica set", "warning"), ("notification", "warning")} == found.faults
    assert "rs.initiate()" in found["replica set"]


def test_members_that_are_down(tmp_path: Path) -> None:
    """
    A member that is down is found, in the set and in the URL.
    """
    with ReplicaSet(tmp_path) as servers:
        assert set() == diagnose(servers.url).faults
        down = next(one for one in servers.servers if one is not servers.primary)
        down.kill()
        until(lambda: "(not reachable" in str(servers.primary.ask("replSetGetStatus")))
        found = diagnose(servers.url)

    assert {("replica set", "warning"), ("tcp", "warning")} == found.faults
    assert f"127.0.0.1:{down.port}" in found["replica set"]


def test_write_concern(server: MongoServer) -> None:
    """
    Writes that a failover may lose are found.
    """
    assert {("write concern", "warning")} == diagnose(f"{server.url}?w=1").faults


def test_version(server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A server that is older than needed is found.
    """
    monkeypatch.setattr(coatcheck_mongo.checkup, "OLDEST", (99,))

    assert {("version", "broken")} == diagnose(server.url).faults


def test_an_index_that_cannot_be_made(server: MongoServer) -> None:
    """
    A missing TTL index is found, and one in its place that does not expire records.
    """
    collection = server.client.results.celery_taskmeta
    assert set() == diagnose(server.url).faults
    collection.drop_index("expires_at_1")
    missing = diagnose(f"{server.url}?read_only=true")
    collection.create_index("expires_at")
    try:
        other = diagnose(server.url)
    finally:
        collection.drop_index("expires_at_1")

    assert {("index", "warning")} == missing.faults == other.faults
    assert "createIndex({expires_at: 1}, {expireAfterSeconds: 0})" in missing["index"]
    assert 'dropIndex("expires_at_1")' in other["index"]


def test_the_monitor(server: MongoServer) -> None:
    """
    A server that does not delete expired records is found.
    """
    server.ask("setParameter", 1, ttlMonitorEnabled=False)
    try:
        found = diagnose(server.url)
    finally:
        server.ask("setParameter", 1, ttlMonitorEnabled=True)

    assert {("expiry monitor", "warning")} == found.faults


def test_clocks(server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A clock of this machine that differs from the server's is found.
    """
    monkeypatch.setattr(probing, "wall", lambda: time.time() + 3600)

    assert {("clock", "warning")} == diagnose(server.url).faults


def test_records_without_expiry(server: MongoServer) -> None:
    """
    Records that never expire are counted, those of Celery as well as ours.
    """
    with coatcheck.by_url(server.url) as results:
        results.store_result("kept", 1, expires=None)
        results.store_result("not kept", 1)
    server.client.results.celery_taskmeta.insert_one({"_id": "old", "status": "SUCCESS"})
    found = diagnose(server.url)

    assert ("expiry", "warning") in found.faults
    assert "2 of 3 sampled records never expire" in found["expiry"]


def test_nobody_listens() -> None:
    """
    A port where nobody listens ends the checks.
    """
    found = diagnose(f"mongodb://127.0.0.1:{free_port()}")

    assert {("tcp", "broken")} == found.faults
    assert 1 == len(found.findings)


# -- users and TLS ---------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[MongoServer]:
    """A server alone that knows a user for each role."""
    with MongoServer(tmp_path, options=("--auth",)) as server:
        roles = [{"role": "root", "db": "admin"}]
        server.ask("createUser", "root", pwd="pw", roles=roles)
        server.client.close()
        server.client_options = {"username": "root", "password": "pw"}
        del server.client
        for name, role in (("reader", "read"), ("writer", "readWrite")):
            roles = [{"role": role, "db": "results"}]
            server.ask("createUser", name, pwd="pw", roles=roles)
        yield server


def test_permissions(guarded: MongoServer) -> None:
    """
    A user who may only read cannot store; settings that he may not see are unchecked, and no fault.
    """
    alone = {("replica set", "warning"), ("notification", "warning")}
    reader = diagnose(guarded.url.replace("//", "//reader:pw@"))
    writer = diagnose(guarded.url.replace("//", "//writer:pw@"))
    wrong = diagnose(guarded.url.replace("//", "//writer:hunter2@"))

    assert ("store", "broken") in reader.faults
    assert alone == writer.faults
    assert "unchecked" in writer["settings"]
    assert {("login", "broken")} == wrong.faults
    assert "hunter2" not in str(wrong)


def test_certificates(tmp_path: Path) -> None:
    """
    A certificate that ends soon is a warning, and one that cannot be verified breaks the store.
    """
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=5))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    options = ("--tlsMode", "preferTLS", "--tlsCertificateKeyFile", str(tmp_path / "server.pem"))
    with ReplicaSet(tmp_path, 1, options) as servers:
        found = diagnose(f"{servers.url}&tls=true&tlsCAFile={tmp_path}/ca.pem")
        stranger = diagnose(f"{servers.url}&tls=true")

    assert {("certificate", "warning")} == found.faults
    assert {("tls", "broken")} == stranger.faults
