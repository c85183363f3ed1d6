"""
`coatcheck backends`, and stores that are chosen by a configured name.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import CommandLine

import coatcheck
from coatcheck._finding.registry import AIO, SYNC
from coatcheck.cli import main

TANK = """
from coatcheck import Capability
from coatcheck._embedded.memory import MemoryBackend
class Tank(MemoryBackend):
    PROTOCOL_VERSION = 1
    {}
"""
TOML = """
[backends.default]
url = "sqlite:///default.db"

[backends.audit]
url = "redis://user:hunter2@host/1?password=hunter2"
"""


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    (tmp_path / "work").mkdir()
    return CommandLine(tmp_path)


@pytest.fixture
def listed(
    _fresh_scan: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[], dict[str, dict[str, Any]]]:
    """
    Return a function that lists what is installed, by scheme; the last of each counts.
    """
    monkeypatch.chdir(tmp_path)

    def run() -> dict[str, dict[str, Any]]:
        assert 0 == main(["backends", "--json"])
        return {row["scheme"]: row for row in json.loads(capsys.readouterr().out)["schemes"]}

    return run


def test_what_is_built_in_is_listed(cli: CommandLine) -> None:
    """
    The embedded schemes are there, with the version and what they can do; columns are divided by
    tabs.
    """
    done = cli("backends", cwd=cli.directory)

    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert "SCHEME\tDISTRIBUTION\tCAPABILITIES\tASYNCIO\tSTATUS" == lines[0]
    version = coatcheck.__version__
    for line in (
        f"disabled\tcoatcheck {version}\tnone\tthreads\tok",
        f"file\tcoatcheck {version}\tscan shared\tthreads\tok",
        f"memory\tcoatcheck {version}\tpush ttl scan events\tthreads\tok",
        f"sqlite\tcoatcheck {version}\tttl scan shared events\tthreads\tok",
    ):
        assert line in lines


def test_a_plugin_is_listed(listed: Any, distribution: Any) -> None:
    """
    An installed scheme has its distribution with version, and each side what it can do.
    """
    own = TANK.format("capabilities = Capability.TTL")
    distribution("coat-tank", SYNC.group, "1.5", tank="coat_tank:Tank", coat_tank=own)
    aio = TANK.format("capabilities = Capability.TTL | Capability.PUSH")
    distribution("coat-tank-aio", AIO.group, tank="coat_aio:Tank", coat_aio=aio)

    assert {
        "scheme": "tank",
        "distributions": ["coat-tank 1.5"],
        "status": "ok",
        "error": None,
        "sync": {"class": "coat_tank:Tank", "capabilities": ["TTL"], "loop": False},
        "asyncio": {
            "class": "coat_aio:Tank",
            "capabilities": ["PUSH", "TTL"],
            "threads": False,
        },
    } == listed()["tank"]
    assert listed()["memory"]["asyncio"]["threads"]


def test_capabilities_that_depend_on_the_url(listed: Any, distribution: Any) -> None:
    """
    A plugin that only knows what it can do when it has a URL is listed without.
    """
    own = TANK.format("capabilities = property(lambda self: Capability.TTL)")
    distribution("coat-tank", SYNC.group, tank="coat_tank:Tank", coat_tank=own)

    assert listed()["tank"]["sync"]["capabilities"] is None
    assert "ok" == listed()["tank"]["status"]


BROKEN = {
    "driver": ("\nimport no_driver\n", "the package 'no_driver' that it needs is missing"),
    "raises": ("\n1 / 0\n", "failed while it was imported: ZeroDivisionError"),
    "exits": ("\nimport sys; sys.exit(3)\n", "SystemExit(3)"),
    "version": (TANK.format("PROTOCOL_VERSION = 9"), "is made for version 9"),
    "empty": ("\nx = 1\n", "Tank"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("group", [SYNC.group, AIO.group])
def test_a_broken_plugin_breaks_nobody(
    listed: Any, distribution: Any, kind: str, group: str
) -> None:
    """
    A plugin that cannot be loaded is listed with its error, and the others as ever.
    """
    source, said = BROKEN[kind]
    distribution("coat-tank", group, tank="coat_tank:Tank", coat_tank=source)
    if group == AIO.group:
        works = TANK.format("pass")
        distribution("coat-good", SYNC.group, tank="coat_good:Tank", coat_good=works)
    rows = listed()

    assert "error" == rows["tank"]["status"]
    assert said in rows["tank"]["error"]
    assert (group == SYNC.group) is (rows["tank"]["sync"] is None)
    assert rows["tank"]["asyncio"] is None
    assert "ok" == rows["memory"]["status"] == rows["sqlite"]["status"]


def test_a_plugin_for_asyncio_alone(listed: Any, distribution: Any) -> None:
    """
    What has only a side for asyncio serves synchronous code on a loop.
    """
    distribution("coat-tank", AIO.group, tank="coat_tank:Tank", coat_tank=TANK.format("pass"))
    row = listed()["tank"]

    assert ("ok", None) == (row["status"], row["error"])
    assert (True, False) == (row["sync"]["loop"], row["asyncio"]["threads"])


def test_conflicts_are_listed(listed: Any, distribution: Any) -> None:
    """
    A scheme of two distributions names both; so does one that is built in, which is not replaced.
    """
    distribution("coat-tank", SYNC.group, "1.5", tank="coat_tank:Tank", memory="coat_tank:Tank")
    distribution("other-tank", SYNC.group, "2.0", tank="other_tank:Tank")
    rows = listed()

    assert ("conflict", ["coat-tank 1.5", "other-tank 2.0"]) == (
        rows["tank"]["status"],
        sorted(rows["tank"]["distributions"]),
    )
    assert "coat-tank 1.5 and by other-tank 2.0" in rows["tank"]["error"]
    assert ("conflict", ["coat-tank 1.5"]) == (
        rows["memory"]["status"],
        rows["memory"]["distributions"],
    )
    assert isinstance(coatcheck.by_url("memory://").backend, coatcheck.Backend)


def test_configured_names_are_listed(cli: CommandLine) -> None:
    """
    Each configured name has its URL, masked, and the file.
    """
    file = cli.directory / "work" / "coatcheck.toml"
    file.write_text(TOML)
    done = cli("backends", cwd=file.parent)
    rows = json.loads(cli("backends", "--json", cwd=file.parent).stdout)["configured"]

    assert f"audit\tredis://***@host/1?password=***\t{file}" == done.stdout.splitlines()[-1]
    assert "hunter2" not in done.stdout
    assert {"name": "default", "url": "sqlite:///default.db", "file": str(file)} == rows[0]


def test_a_broken_file_hides_nothing(cli: CommandLine) -> None:
    """
    Where the configuration cannot be read, the schemes are listed, and one line says why.
    """
    (cli.directory / "work" / "coatcheck.toml").write_text("[backend.x]")
    done = cli("backends", cwd=cli.directory / "work")
    listed = json.loads(cli("backends", "--json", cwd=cli.directory / "work").stdout)

    assert 2 == done.returncode
    assert "\nmemory\t" in done.stdout
    assert "unknown key 'backend': did you mean 'backends'?\n" in done.stderr
    assert 1 == done.stderr.count("\n")
    assert "unknown key 'backend'" in listed["error"]


def test_a_terminal_gets_a_table(cli: CommandLine) -> None:
    """
    In a terminal it is a table, in which brackets are what they are.
    """
    (cli.directory / "coatcheck.toml").write_text('[backends."[red]x"]\nurl = "memory://"')
    environment = {"COATCHECK_CONFIG": f"{cli.directory}/coatcheck.toml"}
    cli = CommandLine(cli.directory)
    inherited = cli.environment
    cli.environment = lambda **changes: inherited(**environment, **changes)  # type: ignore[method-assign]
    with cli.terminal("backends", columns=160) as terminal:
        assert 0 == terminal.finish()

    assert "[red]x" in terminal.shown
    assert "───" in terminal.shown
    assert "push ttl scan" in terminal.shown


# -- the store by a name ----------------------------------------------------------------------


def test_a_store_by_its_name(cli: CommandLine) -> None:
    """
    --backend takes a configured name, or a scheme, as well as a URL.
    """
    work = cli.directory / "work"
    (work / "coatcheck.toml").write_text(
        f'[backends.audit]\nurl = "sqlite:///{cli.directory}/audit.db"\nexpires = "none"'
    )
    ran = cli("run", "--backend", "audit", "--id", "t", "--", "echo", "kept", cwd=work)
    record = json.loads(cli("--backend", "audit", "get", "t", "--json", cwd=work).stdout)

    assert (0, "kept\n") == (ran.returncode, ran.stdout)
    assert ("kept\n", None) == (record["result"]["stdout"], record["expires_at"])
    assert 4 == cli("get", "t", "--backend", "memory", cwd=work).returncode
    assert 4 == cli("get", "t", cwd=work).returncode


def test_the_default_of_the_file(cli: CommandLine) -> None:
    """
    Without --backend and COATCHECK_URL the store is the one that the file calls default; the
    variable goes over it.
    """
    work = cli.directory / "work"
    (work / "pyproject.toml").write_text(
        f'[tool.coatcheck.backends.default]\nurl = "file://{cli.directory}/records"'
    )
    ran = cli("run", "--id", "t", "--", "true", cwd=work, env={"COATCHECK_URL": ""})

    assert 0 == ran.returncode
    assert ["celery-task-meta-t"] == [path.name for path in (cli.directory / "records").iterdir()]
    assert 0 == cli("get", "t", cwd=work, env={"COATCHECK_URL": ""}).returncode
    assert 4 == cli("get", "t", cwd=work).returncode


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "t", "--backend", "adit"], "no backend is named 'adit'; did you mean 'audit'?"),
        (["get", "t", "--backend", "./adit"], "'./adit' is not a URL"),
        (["list", "--backend", "sqlite"], "the backend 'sqlite': sqlite:// names no file"),
        (["list", "--backend", "wrong"], "memory:// has no option 'expirs'"),
    ],
)
def test_a_wrong_name_is_one_line(cli: CommandLine, arguments: list[str], said: str) -> None:
    """
    A mistake in the name, or in its table, is one line and status 2.
    """
    wrong = '[backends.wrong]\nurl = "memory://"\nexpirs = 5'
    (cli.directory / "work" / "coatcheck.toml").write_text(f"{TOML}\n{wrong}")
    done = cli(*arguments, cwd=cli.directory / "work")

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert said in done.stderr
    assert "hunter2" not in done.stderr


def test_what_by_url_refuses_is_listed_as_an_error(listed: Any, distribution: Any) -> None:
    """
    A plugin that `by_url` could not use is not listed as one that works.
    """
    for name, text in (
        ("function", "def Tank(): ...\n"),
        (
            "abstract",
            "from coatcheck import Backend\nclass Tank(Backend):\n    PROTOCOL_VERSION = 1",
        ),
        ("old", TANK.format("pass") + "    @classmethod\n    def from_url(cls, url): ..."),
    ):
        distribution(
            f"coat-{name}", SYNC.group, **{name: f"coat_{name}:Tank", f"coat_{name}": text}
        )

    for name, said in (
        ("function", "is no backend"),
        ("abstract", "it lacks delete_many, get_many, put"),
        ("old", "from_url() does not take"),
    ):
        assert "error" == listed()[name]["status"]
        assert said in listed()[name]["error"]
