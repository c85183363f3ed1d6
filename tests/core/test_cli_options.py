"""
The command line's options, the store they choose, and what a user's mistakes get.
"""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import CommandLine

import coatcheck
from coatcheck.cli import main


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_the_store_may_be_named_before_or_after_the_command(cli: CommandLine) -> None:
    """
    --backend and --json are the same on either side of the command, and go over the environment.
    """
    other = f"sqlite:///{cli.directory}/other.db"
    with coatcheck.by_url(other) as results:
        results.store_result("t", "found")

    assert "found\n" == cli("--backend", other, "get", "t").stdout
    assert "found\n" == cli("get", "t", "--backend", other).stdout
    assert "found\n" == cli("--backend", cli.url, "get", "--backend", other, "t").stdout
    assert cli("--json", "get", "t").stdout == cli("get", "--json", "t").stdout
    assert 4 == cli("get", "t").returncode


@pytest.mark.parametrize("variable", ["", None])
def test_the_default_store_is_the_users_own(cli: CommandLine, variable: str | None) -> None:
    """
    Where nobody names a store, it is a file in the user's data directory, for the user alone.
    """
    environment = cli.environment(COATCHECK_URL="")
    if variable is None:
        del environment["COATCHECK_URL"]
    environment["HOME"] = str(cli.directory)
    for arguments in (["run", "--id", "t", "--", "echo", "kept"], ["get", "t"]):
        done = subprocess.run(
            [sys.executable, "-m", "coatcheck", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    assert '"stdout": "kept\\n"' in done.stdout
    (store,) = cli.directory.rglob("results.db")
    assert "coatcheck" == store.parent.name
    assert 0o700 == stat.S_IMODE(store.parent.stat().st_mode)


def test_a_default_store_that_cannot_be_made(cli: CommandLine) -> None:
    """
    Where the data directory cannot be made, the line says how to name another store.
    """
    (cli.directory / "file").write_text("in the way")
    environment = {"COATCHECK_URL": "", "XDG_DATA_HOME": f"{cli.directory}/file"}
    if sys.platform == "darwin":
        environment["HOME"] = f"{cli.directory}/file"
    done = cli("list", env=environment)

    assert 2 == done.returncode
    assert "name another one with --backend or COATCHECK_URL" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", ""], "a task id cannot be ''"),
        (["wait", ""], "a task id cannot be ''"),
        (["run", "--id", "", "--", "true"], "a task id cannot be ''"),
        (["get", "t", "--backend", "sqltie:///x.db"], "did you mean 'sqlite'?"),
        (["get", "t", "--backend", "/tmp/x.db"], "'/tmp/x.db' is not a URL"),
        (["get", "t", "--backend", ""], "'' is not a URL"),
        (["list", "--backend", "sqlite:///x.db?acept=json"], "has no option 'acept'"),
        (["list", "--backend", "sqlite://"], "names no file"),
        (["list", "--backend", "sqlite:////proc/no/x.db"], "/proc/no"),
        (["get", "t", "--backend", "disabled://"], "results are disabled"),
        (["list", "--backend", "disabled://"], "does not support scan()"),
        (["run", "--backend", "sqlite:///x.db?read_only=1", "--", "true"], "read-only"),
        (["list", "--nope"], "--nope"),
        (["lsit"], "No such command 'lsit'"),
        (["get"], "Missing argument 'ID'. (see: coatcheck get --help)"),
        (["run"], "Missing argument"),
        (["wait"], "Missing argument"),
        (["wait", "t", "--timeout", "-1"], "--timeout"),
        (["wait", "t", "--timeout", "soon"], "--timeout"),
        (["run", "--heartbeat", "-1", "--", "true"], "--heartbeat"),
        (["run", "--expires", "0", "--", "true"], "positive number of seconds, or none"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_a_mistake_is_one_line(cli: CommandLine, arguments: list[str], said: str) -> None:
    """
    A user's mistake is one line on stderr that names the thing, and status 2.
    """
    done = cli(*arguments, cwd=cli.directory)

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("coatcheck: ")
    assert said in done.stderr
    assert 1 == done.stderr.count("\n")


def test_secrets_are_masked(cli: CommandLine) -> None:
    """
    No message shows a password of the URL.
    """
    url = "memory://user:hunter2@host/x"
    shown = [
        cli("run", "--backend", url, "--", "true").stderr,
        cli("list", "--backend", url).stderr,
        cli("list", "--backend", "nope://user:hunter2@host/x?password=hunter2").stderr,
        cli("list", "--backend", "://user:hunter2@host/x?password=hunter2").stderr,
    ]

    assert all(shown)
    assert "hunter2" not in "".join(shown)


def test_a_store_of_one_process_is_pointed_out(cli: CommandLine) -> None:
    """
    `run` with a store that no other process sees says so, and runs.
    """
    done = cli("run", "--backend", "memory://", "--", "echo", "ran")
    unread = cli("run", "--backend", "disabled://", "--json", "--id", "t", "--", "true")

    assert (0, "ran\n") == (done.returncode, done.stdout)
    assert "coatcheck: note: no other process will find this task in memory://\n" == done.stderr
    assert 0 == unread.returncode
    assert "results are disabled" in json.loads(unread.stdout)["error"]


def test_help_tells_the_exit_statuses(cli: CommandLine) -> None:
    """
    --help documents every exit status; without a command the help is an error.
    """
    done = cli("--help")
    none = cli()

    assert 0 == done.returncode
    for status in ("0", "1", "2", "3", "4", "5", "124", "125", "126", "127"):
        assert f"\n    {status} " in done.stdout
    assert (2, "") == (none.returncode, none.stdout)
    assert done.stdout.split() == none.stderr.split()


@pytest.mark.parametrize(
    "command", ["backends", "forget", "get", "list", "purge", "run", "version", "wait"]
)
def test_every_command_has_help(cli: CommandLine, command: str) -> None:
    """
    Each command has a help, with the options that all have.
    """
    done = cli(command, "--help")

    assert 0 == done.returncode
    assert "--backend" in done.stdout
    assert "--json" in done.stdout


def test_without_its_extra_it_says_what_to_install() -> None:
    """
    Where click and rich are not installed, one line says what is, and the status is 2.
    """
    # -S: without site-packages, so that only the standard library and core are there.
    source = str(Path(coatcheck.__file__).parents[1])
    code = (
        f"import sys; sys.path.append({source!r}); from coatcheck.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )

    assert (2, "") == (done.returncode, done.stdout)
    assert (
        "coatcheck: the command line needs click and platformdirs and rich: "
        "pip install 'coatcheck[cli]'\n" == done.stderr
    )


def test_a_part_of_the_extra_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    What is missing is named, and nothing else.
    """
    monkeypatch.setitem(sys.modules, "rich", None)

    assert 2 == main(["version"])
    assert capsys.readouterr().err.startswith("coatcheck: the command line needs rich: pip install")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_descriptors_do_no_harm(cli: CommandLine, closed: str) -> None:
    """
    With stdin, stdout or stderr closed, output does not end up in the store's file.
    """
    script = f'exec "$@" {closed}'
    command = [sys.executable, "-m", "coatcheck", "run", "--id", "t", "--", "echo", "hello"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command],
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode
    with cli.results as results:
        assert "hello\n" == results.get_result("t")["stdout"]


def test_output_that_cannot_be_written_is_one_line(cli: CommandLine) -> None:
    """
    Where stdout cannot be written, one line says why, and the status is 2.
    """
    with Path("/dev/null").open() as unwritable:
        done = cli("version", stdout=unwritable)

    assert (2, "coatcheck: Bad file descriptor\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize("arguments", [["--version"], ["--json", "--version"]])
def test_the_version_as_an_option(cli: CommandLine, arguments: list[str]) -> None:
    """
    --version prints the version, as the command does.
    """
    done = cli(*arguments)

    assert (0, "") == (done.returncode, done.stderr)
    assert cli("version").stdout == done.stdout
