"""
`coatcheck doctor` on real servers: a sound one yields no finding, and each planted fault yields its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.doctor import diagnose
from support.processes import free_port
from support.redis import RedisCluster, RedisServer, Sentinels, until

import coatcheck
import coatcheck_redis.checkup
from coatcheck._doctor import probing

KEPT = ("--appendonly", "yes")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that keeps records on disk."""
    with RedisServer(tmp_path_factory.mktemp("sound"), options=KEPT) as server:
        yield server


@pytest.fixture
def tuned(sound: RedisServer) -> Iterator[Any]:
    """Return a function that changes settings of the server for one test."""
    before: dict[str, str] = {}

    def tune(**changes: str) -> None:
        for option, value in changes.items():
            name = option.replace("_", "-")
            before[name] = sound.ask("CONFIG", "GET", name)[1]
            sound.ask("CONFIG", "SET", name, value)

    yield tune
    for name, value in before.items():
        sound.ask("CONFIG", "SET", name, value)
    sound.ask("FLUSHALL")
    sound.ask("CONFIG", "RESETSTAT")


def of_user(server: RedisServer, *rules: str) -> str:
    """Return the URL for a user who may do all, but for these rules."""
    server.ask("ACL", "SETUSER", "bob", "reset", "on", ">pw", "~*", "&*", "+@all", *rules)
    return server.url.replace("//", "//bob:pw@")


def test_a_sound_server(sound: RedisServer) -> None:
    """
    A sound server yields no fault, by TCP and by its socket, and keeps nothing of the doctor.
    """
    found = diagnose(sound.url)

    assert set() == found.faults
    assert "wakes its waiters" in found["notification"]
    assert "sound: Redis " in found["version"]
    assert set() == diagnose(f"redis+socket://{sound.socket_path}").faults
    assert 0 == sound.ask("DBSIZE")


def test_eviction(sound: RedisServer, tuned: Any) -> None:
    """
    A policy that evicts is found, and so are evicted keys.
    """
    tuned(maxmemory="100mb", maxmemory_policy="allkeys-lru")
    found = diagnose(sound.url)

    assert {("eviction", "warning")} == found.faults
    assert "CONFIG SET maxmemory-policy noeviction" in found["eviction"]
    sound.ask("SET", "large", "x" * 3_000_000)
    tuned(maxmemory="2mb")
    assert "1 keys were evicted" in diagnose(sound.url)["eviction"]


def test_memory(sound: RedisServer, tuned: Any) -> None:
    """
    A server whose memory is nearly full is found, and one whose memory is full stores nothing.
    """
    sound.ask("SET", "large", "x" * 20_000_000)
    used = int(sound.client.info("memory")["used_memory"])
    tuned(maxmemory=str(int(used * 1.05)))
    assert {("memory", "warning")} == diagnose(sound.url).faults
    tuned(maxmemory=str(used // 2))

    assert {("memory", "warning"), ("store", "broken")} == diagnose(sound.url).faults


def test_persistence(own_server: RedisServer) -> None:
    """
    A server that writes nothing to disk is found, and one that cannot write.
    """
    assert {("persistence", "warning")} == diagnose(own_server.url).faults
    own_server.ask("CONFIG", "SET", "save", "3600 1")
    assert set() == diagnose(own_server.url).faults
    (own_server.directory / "dump.rdb").mkdir()
    own_server.ask("SET", "k", "v")
    own_server.ask("BGSAVE")
    until(lambda: own_server.ask("INFO")["rdb_last_bgsave_status"] == "err")

    found = diagnose(own_server.url)
    assert {("persistence", "warning"), ("store", "broken")} == found.faults
    assert "rdb_last_bgsave_status is err" in found["persistence"]


def state_of_replica(master: RedisServer) -> str:
    """Return how far the master says its replica is; "" if it has none."""
    return str(master.ask("INFO").get("slave0", {}).get("state", ""))


def test_replicas(tmp_path: Path) -> None:
    """
    A replica that is not up to date is found, and a replica instead of the master is broken.
    """
    options = (*KEPT, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "600")
    with RedisServer(tmp_path / "master", options=options) as master:
        of = (*KEPT, "--replicaof", f"127.0.0.1 {master.port}")
        with RedisServer(tmp_path / "replica", options=of) as replica:
            until(lambda: state_of_replica(master) == "wait_bgsave")
            assert {("replicas", "warning")} == diagnose(master.url).faults
            master.ask("CONFIG", "SET", "repl-diskless-sync-delay", "0")
            until(lambda: state_of_replica(master) == "online")
            assert set() == diagnose(master.url).faults

            assert ("replicas", "broken") in diagnose(replica.url).faults


def test_sentinels(tmp_path: Path) -> None:
    """
    A master behind sentinels needs a replica. A sentinel that is away is a warning.
    """
    with Sentinels(tmp_path, replicas=0) as group:
        for server in group.servers:
            server.ask("CONFIG", "SET", "appendonly", "yes")
        assert {("replicas", "warning")} == diagnose(group.url).faults
        group.sentinels[2].kill()
        assert {("replicas", "warning"), ("tcp", "warning")} == diagnose(group.url).faults


def test_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each primary of a cluster is checked, and the version for sharded notifications.
    """
    with RedisCluster(tmp_path, options=KEPT) as cluster:
        assert set() == diagnose(cluster.url).faults
        last = cluster.nodes[-1]
        last.ask("CONFIG", "SET", "appendonly", "no")
        monkeypatch.setattr(coatcheck_redis.checkup, "OLDEST_SHARDED", (99,))
        found = diagnose(cluster.url)

    assert {("persistence", "warning"), ("version", "warning")} == found.faults
    assert f"127.0.0.1:{last.port}: nothing is written" in found["persistence"]


def test_listeners(sound: RedisServer, tuned: Any) -> None:
    """
    A limit that cuts listeners off before they have read a record is found.
    """
    tuned(client_output_buffer_limit="pubsub 1mb 1mb 60")

    assert {("listeners", "warning")} == diagnose(sound.url).faults


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        ("-eval", {("permission", "broken"), ("store", "broken")}),
        ("-publish", {("permission", "warning"), ("notification", "warning")}),
        ("-subscribe", {("permission", "warning"), ("notification", "warning")}),
        ("-del", {("forget", "broken")}),
        ("-mget", {("login", "broken")}),
    ],
)
def test_permissions(sound: RedisServer, rule: str, faults: set[tuple[str, str]]) -> None:
    """
    Each permission that the user lacks is named.
    """
    url = of_user(sound, rule)
    sound.ask("SCRIPT", "FLUSH")
    found = diagnose(url)

    assert faults == found.faults
    if "permission" in dict(faults):
        assert f"+{rule[1:]}" in found["permission"]


def test_settings_that_may_not_be_read(sound: RedisServer) -> None:
    """
    Without the permission to see settings, they are unchecked, which is no fault.
    """
    found = diagnose(of_user(sound, "-config", "-info", "-time"))

    assert set() == found.faults
    assert "INFO is refused" in found["settings"]
    assert "CONFIG is refused" in found["settings"]
    assert "unchecked" in found["clock"]


def test_login(sound: RedisServer) -> None:
    """
    A wrong password is found at once, and does not appear.
    """
    found = diagnose(sound.url.replace("//", "//bob:hunter2@"))

    assert {("login", "broken")} == found.faults
    assert "hunter2" not in str(found)


def test_nobody_listens() -> None:
    """
    A port where nobody listens ends the checks.
    """
    found = diagnose(f"redis://127.0.0.1:{free_port()}")

    assert {("tcp", "broken")} == found.faults
    assert 1 == len(found.findings)


def test_clocks(sound: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A clock of this machine that differs from the server's is found.
    """
    monkeypatch.setattr(probing, "wall", lambda: time.time() + 3600)
    found = diagnose(sound.url)

    assert {("clock", "warning")} == found.faults
    assert "behind" in found["clock"]


def test_records_without_expiry(sound: RedisServer) -> None:
    """
    Records that never expire are counted, those of Celery as well as ours.
    """
    with coatcheck.by_url(sound.url) as results:
        results.store_result("kept", 1, expires=None)
        results.store_result("not kept", 1)
    sound.ask("SET", "celery-task-meta-old", '{"status": "SUCCESS", "result": 1}')
    found = diagnose(sound.url)
    sound.ask("FLUSHALL")

    assert {("expiry", "warning")} == found.faults
    assert "2 of 3 sampled records never expire" in found["expiry"]


def test_options_without_effect(sound: RedisServer) -> None:
    """
    Options that are accepted for redis-py's sake, and ignored, are named.
    """
    found = diagnose(f"{sound.url}?decode_responses=true")

    assert {("configuration", "warning")} == found.faults
    assert "decode_responses" in found["configuration"]


@pytest.fixture
def encrypted(tmp_path: Path) -> Any:
    """Return a function that starts a server with a certificate valid for some days."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    servers = []

    def start(days: float) -> str:
        leaf = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=days))
        leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
        port, both = free_port(), str(tmp_path / "server.pem")
        options = ("--tls-port", str(port), "--tls-cert-file", both, "--tls-key-file", both)
        more = ("--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no")
        servers.append(RedisServer(tmp_path / "server", options=(*KEPT, *options, *more)).start())
        return f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path}/ca.pem"

    yield start
    for server in servers:
        server.kill()


def test_tls(encrypted: Any) -> None:
    """
    The handshake is a step of its own, and a certificate that nobody verifies is found.
    """
    url = encrypted(365)
    found = diagnose(url)

    assert set() == found.faults
    assert "speaks TLSv1" in found["tls"]
    assert "valid for 36" in found["certificate"]
    assert {("certificate", "warning")} == diagnose(f"{url}&ssl_cert_reqs=none").faults
    assert {("tls", "broken")} == diagnose(url.partition("?")[0]).faults  # no authority


@pytest.mark.parametrize(
    ("days", "fault"), [(5, ("certificate", "warning")), (-1, ("tls", "broken"))]
)
def test_certificates_that_end(encrypted: Any, days: float, fault: tuple[str, str]) -> None:
    """
    A certificate that ends soon is a warning, and one that has ended breaks the store.
    """
    assert {fault} == diagnose(encrypted(days)).faults


def test_tls_with_a_plain_port(sound: RedisServer) -> None:
    """
    A server that does not speak TLS is found by this step.
    """
    assert {("tls", "broken")} == diagnose(sound.url.replace("redis:", "rediss:")).faults
