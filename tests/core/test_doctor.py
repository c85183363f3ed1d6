"""
`coatcheck doctor`: a sound store yields no finding, and each planted fault yields its own.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import CommandLine
from support.doctor import Diagnosis, diagnose

import coatcheck
import coatcheck.aio.plugin as aio
from coatcheck._doctor import sampling
from coatcheck._embedded import disk
from coatcheck._embedded.memory import MemoryBackend
from coatcheck.plugin import Capability, Checkup, Finding, Level, Server


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without configuration above it that counts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COATCHECK_URL", raising=False)
    monkeypatch.delenv("COATCHECK_CONFIG", raising=False)
    return tmp_path


@pytest.fixture
def url(place: Path) -> str:
    """The URL of an SQLite file with its table and one good record."""
    with coatcheck.by_url(f"sqlite:///{place}/results.db") as results:
        results.store_result("good", [1])
    return f"sqlite:///{place}/results.db"


def change(place: Path, sql: str, *parameters: object) -> None:
    """Change the file without coatcheck."""
    with sqlite3.connect(place / "results.db") as connection:
        connection.execute(sql, parameters)
    connection.close()


def test_a_sound_store(url: str, place: Path) -> None:
    """
    A sound store yields no fault, and keeps no record of the doctor.
    """
    assert set() == diagnose(url).faults
    with coatcheck.by_url(url) as results:
        assert ["good"] == [meta.task_id for meta in results.scan()]


def test_a_sound_directory(place: Path) -> None:
    """
    A directory of files is checked as well, its disk included.
    """
    found = diagnose(f"file://{place}/files")

    assert set() == found.faults
    assert "can forget a record" in found["forget"]


def test_text(url: str, place: Path) -> None:
    """
    Without a terminal, columns are divided by tabs; in one, lines are wrapped and coloured.
    """
    cli = CommandLine(place)
    done = cli("doctor", url)
    lines = [line.split("\t") for line in done.stdout.splitlines()]

    assert (0, "") == (done.returncode, done.stderr)
    assert ["LEVEL", "CHECK", "TOOK", "FINDING", "REMEDY"] == lines[0]
    assert ["sound", "store", "can store a record"] == [lines[3][n] for n in (0, 1, 3)]
    with cli.terminal("doctor", "memory://", columns=60) as terminal:
        assert 1 == terminal.finish()
    assert "-> use a store that keeps records" in terminal.shown
    assert all(len(line) <= 60 for line in terminal.shown.splitlines())


def test_control_characters(place: Path) -> None:
    """
    Text that came from outside cannot command a terminal.
    """
    done = CommandLine(place)("doctor", "sqlite:///\x1b[31m/\x9b/x.db?colour=red")

    assert 2 == done.returncode
    assert "colour" in done.stdout
    assert not {"\x1b", "\x9b"} & set(done.stdout)


def test_help_has_examples(place: Path) -> None:
    """
    `--help` shows how the command is used.
    """
    assert "coatcheck doctor sqlite:///results.db" in CommandLine(place)("doctor", "-h").stdout


def test_the_store_is_named_once(url: str, place: Path) -> None:
    """
    The store comes from the argument, from `--backend`, or from the configuration; not from two.
    """
    cli = CommandLine(place)

    assert 0 == cli("doctor", "--backend", url).returncode
    assert 0 == cli("doctor").returncode
    assert "not by both" in cli("doctor", url, "--backend", url).stderr


# -- configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["nosuch://x", "nosuch", "sqlite:///x.db?expire=3"])
def test_wrong_configuration(place: Path, store: str) -> None:
    """
    A store that cannot be opened is a finding, also for programs.
    """
    assert {("configuration", "broken")} == diagnose(store).faults


def test_a_variable_that_nobody_reads(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A misspelt variable is found, with the nearest one that exists.
    """
    monkeypatch.setenv("COATCHECK_EXPIRE", "60")
    found = diagnose(url)

    assert {("configuration", "warning")} == found.faults
    assert "did you mean COATCHECK_EXPIRES?" in found["configuration"]


def test_a_url_over_a_table(url: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Options of a table that the URL in the environment overrides are named.
    """
    (place / "coatcheck.toml").write_text('[backends.default]\nurl = "redis://x"\ndb = 3\n')
    monkeypatch.setenv("COATCHECK_URL", url)
    found = diagnose()

    assert {("configuration", "warning")} == found.faults
    assert "COATCHECK_URL overrides url and db of backends.default" in found["configuration"]


def test_a_hidden_file(url: str, place: Path) -> None:
    """
    A table in `pyproject.toml` next to a `coatcheck.toml` is ignored, and found.
    """
    (place / "coatcheck.toml").write_text(f'[backends.default]\nurl = "{url}"\n')
    assert set() == diagnose().faults
    (place / "pyproject.toml").write_text('[tool.coatcheck.backends.audit]\nurl = "redis://x"\n')

    assert {("configuration", "warning")} == diagnose().faults
    assert set() == diagnose(url).faults  # for which no file is read


def test_a_file_that_is_not_trusted(place: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """
    A file of another user in a directory where anybody may write is ignored, and found.
    """
    (place / "coatcheck.toml").write_text('[backends.default]\nurl = "redis://x"\n')
    place.chmod(0o777)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    if me == 0:  # root's files are everybody's
        os.chown(place / "coatcheck.toml", 5, 5)
    monkeypatch.setenv("COATCHECK_URL", url)

    assert {("configuration", "warning")} == diagnose().faults


# -- permissions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "trigger"),
    [
        ("store", "BEFORE INSERT ON coatcheck_records BEGIN SELECT RAISE(ABORT, 'no'); END"),
        ("fetch", "AFTER INSERT ON coatcheck_records BEGIN DELETE FROM coatcheck_records; END"),
        ("forget", "BEFORE DELETE ON coatcheck_records BEGIN SELECT RAISE(ABORT, 'no'); END"),
    ],
)
def test_what_the_user_may_not_do(url: str, place: Path, check: str, trigger: str) -> None:
    """
    A store that refuses to store, to fetch or to forget is broken.
    """
    change(place, f"CREATE TRIGGER t {trigger}")

    assert (check, "broken") in diagnose(url).faults


def test_read_only(url: str) -> None:
    """
    Results that are read-only are not written to, and the rest is checked.
    """
    found = diagnose(f"{url}?read_only=true")

    assert set() == found.faults
    assert "unchecked" in found["store"]
    assert "all of 1 sampled records can be read" in found["records"]


def test_stores_that_are_none() -> None:
    """
    Records of one process are a warning, and disabled results are broken.
    """
    assert {("sharing", "warning")} == diagnose("memory://").faults
    assert {("login", "broken")} == diagnose("disabled://").faults


def test_a_store_that_cannot_be_reached(place: Path) -> None:
    """
    A file below another file cannot be opened, and nothing else is checked.
    """
    (place / "file").touch()
    found = diagnose(f"sqlite:///{place}/file/results.db")

    assert {("login", "broken")} == found.faults
    assert 1 == len(found.findings)


# -- records ---------------------------------------------------------------------------------


def test_records_that_cannot_be_read(url: str, place: Path) -> None:
    """
    Unreadable records are counted by the reason.
    """
    with coatcheck.by_url(url, serializer="pickle", unsafe_pickle=True) as results:
        results.store_result("pickled", 1)
        results.store_result("pickled too", 1)
    change(place, "UPDATE coatcheck_records SET value = x'00' WHERE key LIKE '%good'")
    found = diagnose(url)

    assert {("records", "warning")} == found.faults
    assert "2 of 3 sampled records cannot be read: they are pickle" in found["records"]
    assert "1 of 3 sampled records cannot be read: they are damaged" in found["records"]


def test_records_without_a_signature(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Unsigned records are a finding where keys are configured.
    """
    monkeypatch.setenv("KEY", "new:" + "a" * 40)
    found = diagnose(f"{url}?signing_keys=env:KEY")

    assert {("records", "warning")} == found.faults
    assert "signing_keys" in found["records"]


def test_records_without_expiry(url: str) -> None:
    """
    Records that never expire are counted, unless that is configured.
    """
    with coatcheck.by_url(url) as results:
        results.store_result("kept", 1, expires=None)
    found = diagnose(url)

    assert {("expiry", "warning")} == found.faults
    assert "1 of 2 sampled records never expire" in found["expiry"]
    assert set() == diagnose(f"{url}?expires=none").faults


def test_records_without_expiry_in_files(place: Path) -> None:
    """
    Where the store cannot tell, the records say whether they expire.
    """
    url = f"file://{place}/files"
    with coatcheck.by_url(url) as results:
        results.store_result("good", 1)
        assert set() == diagnose(url).faults
        results.store_result("kept", 1, expires=None)

    assert {("expiry", "warning")} == diagnose(url).faults


def test_a_sample_is_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A large store is not read whole.
    """
    monkeypatch.setattr(sampling, "SAMPLE", 3)
    with coatcheck.by_url(url) as results:
        results.store_many({str(n): n for n in range(10)})

    assert "all of 3 sampled records can be read" in diagnose(url)["records"]


# -- SQLite and files ------------------------------------------------------------------------

AS_NOBODY = """
import os, sys
from coatcheck.cli import main
main(["doctor", sys.argv[1] + "-warm", "--json"])  # the other user cannot import
os.setgid(65534), os.setuid(65534)
sys.exit(main(["doctor", sys.argv[1]]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_without_a_log(url: str, place: Path) -> None:
    """
    Where the log cannot be written, readers and writers block each other, and nothing can be stored.
    """
    for directory in (place, *place.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o055)
    (place / "results.db").chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, url],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    levels = {tuple(line.split("\t")[:2]) for line in done.stdout.splitlines()}

    assert 2 == done.returncode, done.stderr
    assert {("broken", "store"), ("warning", "journal")} <= levels


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_the_disk(place: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """
    A disk with less room than there should be is found, and a file system of other machines.
    """
    monkeypatch.setattr(disk, "LEAST", 1 << 62)
    monkeypatch.setattr(disk, "REMOTE", {disk.file_system(place)})
    found = diagnose(f"{scheme}://{'/' if scheme == 'sqlite' else ''}{place}/store")

    assert {("disk", "warning"), ("file system", "warning")} == found.faults


# -- the checks of other backends ------------------------------------------------------------


class Tank(MemoryBackend):
    """A backend of somebody else, whose checks are those of the class attribute."""

    PROTOCOL_VERSION = 1
    capabilities = MemoryBackend.capabilities | Capability.SHARED
    checks: Callable[[], Checkup] = Checkup

    def checkup(self) -> Checkup:
        return type(self).checks()


def examined(checks: Callable[[], Checkup]) -> Diagnosis:
    made = {"checks": staticmethod(checks), "PROTOCOL_VERSION": 1}
    with coatcheck.registered("tank", type("Tank", (Tank,), made)):
        return diagnose("tank://?key_prefix=p-")


def test_a_backend_for_asyncio_alone() -> None:
    """
    A backend that has only a side for asyncio is checked in the same way, its own checks included.
    """

    class Own(Checkup):
        def findings(self) -> Iterator[Finding]:
            yield Finding("water", Level.WARNING, "it is low", "fill it")

    class Pond(aio.ThreadedBackend, aio.Backend[Any]):
        PROTOCOL_VERSION = 1

        @classmethod
        def from_url(cls, url: Any, **_: Any) -> Any:
            with coatcheck.by_url("memory://") as results:
                return cls(results.backend)

        def checkup(self) -> Checkup:
            return Own()

    with coatcheck.aio.registered("pond", Pond):
        assert {("water", "warning"), ("sharing", "warning")} == diagnose("pond://").faults


def test_findings_of_a_plugin() -> None:
    """
    A backend's own checks are made, with the prefix of its keys.
    """

    class Own(Checkup):
        def findings(self) -> Iterator[Finding]:
            yield Finding("water", Level.WARNING, f"{self.key_prefix} is low", "fill it")

    assert set() == examined(Checkup).faults
    assert {("water", "warning")} == examined(Own).faults
    assert "p- is low -> fill it" in examined(Own)["water"]


def test_a_check_that_fails() -> None:
    """
    An error in one check is told without its text, and the others go on.
    """

    class Failing(Checkup):
        def findings(self) -> Iterator[Finding]:
            raise TypeError("hunter2")

    def fail() -> Checkup:
        raise TypeError("hunter2")

    for checks in (Failing, fail):
        found = examined(checks)

        assert set() == found.faults
        assert "unchecked: the check failed: TypeError" in found["settings"]
        assert "sampled" in found["records"]
        assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (coatcheck.BackendUnavailableError("gone"), "broken"),
        (coatcheck.BackendGetMetaError("refused"), "unchecked"),
    ],
)
def test_a_check_that_the_store_ends(error: Exception, level: str) -> None:
    """
    A store that goes away in a check is broken; one that refuses leaves it unchecked.
    """

    class Ended(Checkup):
        def findings(self) -> Iterator[Finding]:
            raise error

    assert level in examined(Ended)["settings"]


def test_servers_by_steps(tmp_path: Path) -> None:
    """
    Each server is looked for: its name, its port or its socket. All have to be away for a broken store.
    """
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{tmp_path}/s")
        unix.listen()
        here = Server("localhost", tcp.getsockname()[1]), Server(f"{tmp_path}/s", 0)
        gone = Server("nowhere.invalid", 80), Server(f"{tmp_path}/none", 0)

        def reached(*servers: Server) -> Diagnosis:
            return examined(type("Reached", (Checkup,), {"servers": lambda _: servers}))

        assert set() == reached(*here).faults
        assert "localhost is" in reached(*here)["name"]
        assert {("name", "broken"), ("tcp", "broken")} == reached(*gone).faults
        assert {("name", "warning"), ("tcp", "warning")} == reached(*here, *gone).faults
    assert {("tcp", "broken")} == reached(here[0]).faults


def test_clocks() -> None:
    """
    A store whose clock differs by more than a second is found; a store without a clock is not.
    """

    def with_clock(ahead: float) -> Diagnosis:
        return examined(type("Clock", (Checkup,), {"clock": lambda _: time.time() + ahead}))

    assert set() == with_clock(0).faults
    assert {("clock", "warning")} == with_clock(3).faults
    assert "behind" in with_clock(-3)["clock"]


STORES_ONLY = """
import sys, coatcheck, coatcheck.plugin
with coatcheck.by_url(sys.argv[1]) as results:
    results.store_result("t", 1)
    assert 1 == results.get_result("t")
print([name for name in sys.modules if "doctor" in name or "checkup" in name])
"""


def test_only_the_doctor_pays(url: str) -> None:
    """
    A process that stores and fetches imports nothing of the doctor.
    """
    done = subprocess.run(
        [sys.executable, "-c", STORES_ONLY, url], check=True, capture_output=True, text=True
    )

    assert "[]\n" == done.stdout
