"""
`coatcheck get`, `list` and `version`: what is stored, for people and for programs.
"""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.cli import ESCAPES, PATIENCE, CommandLine, Terminal

import coatcheck
from coatcheck._record.failures import Failure
from coatcheck.cli import render
from coatcheck.cli.text import harmless, span


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def put_bytes(cli: CommandLine, task_id: str, data: bytes) -> None:
    """
    Store *data* as the record of *task_id*, past all checks.
    """
    with cli.results as results:
        raw = results.backend.backend  # type: ignore[attr-defined]
        raw.put(f"celery-task-meta-{task_id}", data, unless=frozenset(), expires=None)


def put_pickle(cli: CommandLine, task_id: str) -> None:
    with coatcheck.by_url(cli.url, serializer="pickle", unsafe_pickle=True) as results:
        results.store_result(task_id, {"a": 1})


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("text\nas it is", "text\nas it is\n"),
        ("ends\n", "ends\n"),
        (579, "579\n"),
        (None, "null\n"),
        ({"a": [1, True, "ü"]}, '{\n  "a": [\n    1,\n    true,\n    "ü"\n  ]\n}\n'),
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, None),
        ({1: {2, 3}}, "{1: {2, 3}}\n"),
        (b"\x00\xff", None),
    ],
)
def test_a_value_is_printed(cli: CommandLine, value: Any, printed: str | None) -> None:
    """
    Text is printed as it is, other values as JSON where JSON can hold them, else as Python's.
    """
    with cli.results as results:
        results.store_result("t", value)
    process = cli.start("get", "t", text=False, env={"PYTHONUTF8": "1"})
    stdout, stderr = process.communicate(timeout=PATIENCE)

    expected = value if isinstance(value, bytes) else (printed or f"{value!r}\n").encode()
    assert (0, expected, b"") == (process.returncode, stdout, stderr)


def test_a_record_as_json(cli: CommandLine) -> None:
    """
    --json prints one object with the record's fields; what JSON lacks becomes text.
    """
    with cli.results as results, results.running("t", name="add") as task:
        task.result = {"d": Decimal("1.5"), "s": (1, 2), "x": float("inf")}
    record = json.loads(cli("get", "t", "--json").stdout)

    assert {"d": "Decimal('1.5')", "s": [1, 2], "x": "inf"} == record["result"]
    assert ("t", "SUCCESS", True, "add") == tuple(
        record[key] for key in ("task_id", "status", "known", "name")
    )
    assert record["worker"].startswith(f"{os.getpid()}@")
    dates = [datetime.fromisoformat(record[f"date_{key}"]) for key in ("started", "done")]
    assert dates[0] <= dates[1] < datetime.fromisoformat(record["expires_at"])
    assert [None] * 3 == [record[key] for key in ("failure", "error", "traceback")]


def fail(cli: CommandLine, task_id: str) -> None:
    with cli.results as results:
        try:
            raise ValueError("no such colour") from KeyError("pink")
        except ValueError as error:
            error.add_note("it was the third row")
            results.mark_as_failure(task_id, error, name="paint")


def test_a_failure_is_shown(cli: CommandLine) -> None:
    """
    The remote traceback and the summary go to stderr, and the status is 1.
    """
    fail(cli, "t")
    done = subprocess.run(
        [sys.executable, "-m", "coatcheck", "get", "t"],
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert "in fail\n" in done.stderr
    assert "KeyError: 'pink'" in done.stderr
    assert "it was the third row" in done.stderr
    assert done.stderr.endswith("coatcheck: task 't' is FAILURE: ValueError: no such colour\n")


def test_a_failure_as_json(cli: CommandLine) -> None:
    """
    --json has the failure as data, down to its cause.
    """
    fail(cli, "t")
    done = cli("--json", "get", "t")
    record = json.loads(done.stdout)

    assert (1, "") == (done.returncode, done.stderr)
    assert record["result"] is None
    failure = record["failure"]
    assert "builtins.ValueError" == failure["type"]
    assert ["no such colour"] == failure["args"]
    assert ["it was the third row"] == failure["notes"]
    assert "builtins.KeyError" == failure["cause"]["type"]
    assert "in fail\n" in record["traceback"]


def test_the_output_of_a_failed_command_is_shown(cli: CommandLine) -> None:
    """
    `get` shows what a failed command had printed, each stream on its own.
    """
    cli("run", "--id", "t", "--", "sh", "-c", "echo out; echo err >&2; exit 9")
    done = cli("get", "t")

    assert (1, "out\n") == (done.returncode, done.stdout)
    assert done.stderr.startswith("err\n")
    assert done.stderr.endswith("exit status 9: err\n")


def test_the_status_says_what_is(cli: CommandLine) -> None:
    """
    The exit status of `get` tells success, unready, unknown and revoked apart, in one line each.
    """
    with cli.results as results:
        results.store_result("done", 1)
        results.update_state("going", "PROGRESS", {"current": 3, "total": 4})
        results.expect("expected")
        results.mark_as_revoked("revoked", "by hand")
    answers = {
        task_id: cli("get", task_id) for task_id in ("done", "going", "expected", "none", "revoked")
    }

    assert [0, 3, 3, 4, 5] == [answer.returncode for answer in answers.values()]
    assert "coatcheck: task 'going' is not ready: PROGRESS 3/4 (75%)\n" == answers["going"].stderr
    assert "coatcheck: task 'expected' is not ready: PENDING\n" == answers["expected"].stderr
    assert "coatcheck: nothing is stored for task 'none'" in answers["none"].stderr
    assert answers["revoked"].stderr.endswith("by hand\n")
    assert not json.loads(cli("get", "none", "--json").stdout)["known"]


NEWER = b'{"status": "SUCCESS", "result": 1, "v": 99}'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"status": "SUCCESS", "result": [1,', "SUCCESS, but the record of task 't' cannot be"),
        (NEWER, "SUCCESS, but the record of task 't' cannot be read: it has version 99"),
        (b"\xff\xfe?", "the record of task 't' cannot be read: its first bytes"),
        (b"[1, 2]", "the record of task 't' cannot be read: "),
        (b"", "the record of task 't' cannot be read: "),
        (None, "SUCCESS, but the record of task 't' is pickle, and this reader accepts"),
    ],
)
def test_a_record_that_cannot_be_read(cli: CommandLine, data: bytes | None, said: str) -> None:
    """
    Of a damaged, newer, foreign or pickled record, the state is shown, and why that is all.
    """
    if data is None:
        put_pickle(cli, "t")
    else:
        put_bytes(cli, "t", data)
    done = cli("get", "t")
    shown = cli("get", "t", "--json")

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"coatcheck: {said}")
    assert 1 == done.stderr.count("\n")
    assert 2 == shown.returncode
    assert json.loads(shown.stdout)["error"] in done.stderr


def fill(cli: CommandLine) -> None:
    with cli.results as results:
        for number in range(3):
            with results.running(f"t{number}", name="count") as task:
                task.result = number
    fail(cli, "failed")
    put_bytes(cli, "broken", b"\xff\xff")
    put_pickle(cli, "pickled")


def test_list_is_newest_first(cli: CommandLine) -> None:
    """
    `list` prints a line for each task, the newest first, those that cannot be read too.
    """
    fill(cli)
    done = cli("list")
    rows = [line.split("\t") for line in done.stdout.splitlines()]

    assert (0, "") == (done.returncode, done.stderr)
    assert ["STATE", "TASK ID", "NAME", "AGE", "TOOK", "RESULT"] == rows[0]
    by_id = {row[1]: row for row in rows[1:]}
    assert {"t0", "t1", "t2", "failed", "broken", "pickled"} == by_id.keys()
    order = list(by_id)
    assert ["failed", "t2", "t1", "t0"] == [id_ for id_ in order if id_[0] in "ft"]
    assert ["FAILURE", "paint", "ValueError: no such colour"] == [
        by_id["failed"][column] for column in (0, 2, 5)
    ]
    assert ["SUCCESS", "count", "2"] == [by_id["t2"][column] for column in (0, 2, 5)]
    assert "?" == by_id["broken"][0]
    assert "cannot be read" in by_id["broken"][5]
    assert "is pickle" in by_id["pickled"][5]


def test_list_is_a_table_in_a_terminal(cli: CommandLine) -> None:
    """
    In a terminal `list` is a table with coloured states, whole ids, and what fits of the rest.
    """
    fill(cli)
    task_id = "0c8a3f3e-6f5d-4f4e-9a54-0d7a3e1b7c11"
    with cli.results as results:
        results.store_result(task_id, "long " * 100)
    with cli.terminal("list") as wide, cli.terminal("list", columns=80) as narrow:
        assert (0, 0) == (wide.finish(), narrow.finish())

    with cli.terminal("list", "--limit", "2") as short:
        assert 0 == short.finish()

    assert "the newest 2 of 7" in short.shown
    assert ["STATE", "TASK", "ID", "NAME", "AGE", "TOOK", "RESULT"] == wide.shown.split()[:7]
    assert ["STATE", "TASK", "ID", "AGE", "RESULT"] == narrow.shown.split()[:5]
    assert "\x1b[32mSUCCESS" in wide.raw
    for terminal, columns in ((wide, 120), (narrow, 80)):
        lines = terminal.shown.splitlines()
        assert 9 == len(lines)
        assert columns >= max(map(len, lines))
        (line,) = (line for line in lines if task_id in line)
        assert "long long" in line
        assert line.endswith("…")
        assert any("ValueError" in line for line in lines)


def test_list_can_be_narrowed(cli: CommandLine) -> None:
    """
    --state and --limit choose among the tasks; --json prints an object for each.
    """
    fill(cli)
    failed = cli("list", "--state", "failure", "--json").stdout.splitlines()
    two = cli("list", "--limit", "2", "--json").stdout.splitlines()
    all_ = cli("list", "--json").stdout.splitlines()

    assert ["failed"] == [json.loads(line)["task_id"] for line in failed]
    assert 2 == len(two)
    assert two == all_[:2]
    assert 6 == len(all_)


@pytest.mark.parametrize(
    ("state", "value", "shown"),
    [
        ("PROGRESS", {"current": 5}, "5"),
        ("PROGRESS", {"current": 5, "total": 0}, "5"),
        ("PROGRESS", {"current": 37.5, "total": 100}, "38%"),
        ("PROGRESS", {"current": 9, "total": 3}, "9/3 (100%)"),
        ("PROGRESS", {"current": True, "total": "x"}, ""),
        ("CUSTOM", ["whatever"], ""),
        ("SUCCESS", {"exit_status": 0, "stdout": "a\nb\n\n"}, "b"),
        ("SUCCESS", {"exit_status": 0, "stdout": ""}, "exit status 0"),
        ("SUCCESS", "x" * 1000, "x" * 199 + "…"),
        ("SUCCESS", None, "None"),
        ("REVOKED", "by hand", "TaskRevokedError: by hand"),
        ("FAILURE", KeyError(), "KeyError"),
    ],
)
def test_a_record_in_one_line(state: str, value: Any, shown: str) -> None:
    """
    A table shows progress, the last line of a command's output, or the beginning of a value.
    """
    with coatcheck.by_url("memory://cli-show") as results:
        results.forget("t")
        results.store_result("t", value, state)
        assert shown == render.summary(results.get_task_meta("t"))


def test_deep_and_odd_values_as_json() -> None:
    """
    What is nested too deeply, or has keys that are no text, becomes text.
    """
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    value = {"deep": deep, 1: {2}, (3,): datetime(2026, 1, 2, tzinfo=UTC)}

    shown = json.loads(json.dumps(render.jsonable(value)))
    assert [[2], "2026-01-02T00:00:00+00:00"] == [shown["1"], shown["(3,)"]]
    assert render.pretty({1: [[["x"]]]}) == "{1: [[['x']]]}"
    assert render.pretty(value)  # how deep Python itself shows values depends on its version


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0 ms"),
        (0.25, "250 ms"),
        (8.14, "8.1 s"),
        (90, "90 s"),
        (150, "2 min"),
        (10_000, "3 h"),
        (200_000, "2 d"),
    ],
)
def test_spans(seconds: float, shown: str) -> None:
    """
    A duration is shown in its largest unit.
    """
    assert shown == span(seconds)


def test_list_of_nothing(cli: CommandLine) -> None:
    """
    An empty store is said on stderr, and is no error.
    """
    done = cli("list")

    assert (0, "") == (done.returncode, done.stdout)
    assert f"coatcheck: nothing is stored in {cli.url}\n" == done.stderr
    assert "" == cli("list", "--json").stdout


def test_text_cannot_command_a_terminal(cli: CommandLine) -> None:
    """
    `list` escapes control characters of ids, names and values.
    """
    with cli.results as results:
        results.store_result("id\x1b[2J\n", "value\x1b]0;title\x07", name="na\x1bme")
    done = cli("list")

    assert "\x1b" not in done.stdout
    assert "id\\x1b[2J\\n\tna\\x1bme\t" in done.stdout
    assert 2 == done.stdout.count("\n")


HOSTILE = "\x00\x1b[2J\x9b31m\u202e\u2066\u200e\u2028\u2029\x7f\x85\r"
HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(terminal: Terminal) -> str:
    """
    Return what a terminal was sent, without line ends and the sequences of `coatcheck` itself.
    """
    return ESCAPES.sub("", terminal.raw.replace("\r\n", "\n")).replace("\r", "")


@pytest.mark.parametrize(
    "value",
    [
        HOSTILE,
        {HOSTILE: [HOSTILE, {"a": {"b": HOSTILE}}]},
        [(HOSTILE,)],
        {1: HOSTILE},
        HOSTILE.encode(),
    ],
    ids=["text", "keys and values", "list", "no JSON", "bytes"],
)
def test_no_value_commands_a_terminal(cli: CommandLine, value: Any) -> None:
    """
    A terminal gets no control character that is stored, wherever it is in a record.
    """
    with cli.results as results:
        results.store_result(HOSTILE, value, name=HOSTILE, worker=HOSTILE)
    for arguments in (
        ("get", HOSTILE[1:]),
        ("get", "t"),
        ("list",),
        ("wait", "t"),
        ("list", "--json"),
    ):
        with cli.results as results:
            results.store_result("t", value, name=HOSTILE, worker=HOSTILE)
        with cli.terminal(*arguments) as terminal:
            terminal.finish()
        assert HARMFUL.search(plain(terminal)) is None, (arguments, terminal.raw)
        assert plain(terminal)


def hostile_failure() -> Exception:
    """
    Return an exception with control characters in all its parts.
    """
    error = type("Error" + HOSTILE[1:], (Exception,), {})(HOSTILE)
    error.add_note(HOSTILE)
    error.stdout = error.stderr = HOSTILE
    error.__cause__ = ValueError(HOSTILE)
    return error


@pytest.mark.parametrize("command", ["get", "wait", "list"])
def test_no_failure_commands_a_terminal(cli: CommandLine, command: str) -> None:
    """
    The same holds for messages, notes, tracebacks, and the output of commands.
    """
    with cli.results as results:
        results.mark_as_failure("t", hostile_failure(), traceback=f"Remote:\n\t{HOSTILE}\n")
    arguments = [command] if command == "list" else [command, "t"]
    with cli.terminal(*arguments) as terminal:
        terminal.finish()

    assert HARMFUL.search(plain(terminal)) is None, terminal.raw
    assert "\\x1b[2J" in plain(terminal)


def test_a_program_gets_text_as_it_is(cli: CommandLine) -> None:
    """
    Where stdout is no terminal, text is the stored text, and JSON has its own escapes.
    """
    text = HOSTILE.replace("\r", "")  # which is read here as the end of a line
    with cli.results as results:
        results.store_result("t", text)
        results.store_result("d", {"a": [text, "é\u00a0\U0001f469\u200d\U0001f4bb"]})

    assert f"{text}\n" == cli("get", "t").stdout
    shown = cli("get", "d").stdout
    assert HARMFUL.search(shown) is None
    assert "é\u00a0\U0001f469\u200d\U0001f4bb" in shown
    assert {"a": [text, "é\u00a0\U0001f469\u200d\U0001f4bb"]} == json.loads(shown)


def test_lines_of_text_in_a_terminal() -> None:
    """
    Lines, tabs and the line ends of other systems are kept.
    """
    assert "a\tb\nc\u00a0d\n\\re\\x1b" == harmless("a\tb\r\nc\u00a0d\n\re\x1b")


def test_list_in_a_narrow_terminal(cli: CommandLine) -> None:
    """
    Where ids and states leave no room, each task gets lines of its own, broken between words.
    """
    task_id = "0c8a3f3e-6f5d-4f4e-9a54-0d7a3e1b7c11"
    with cli.results as results:
        results.store_result("t", 1)
        results.mark_as_failure(task_id, ValueError("some words that are longer than the terminal"))
    for columns in (20, 40, 60):
        with cli.terminal("list", "--limit", "1", columns=columns) as terminal:
            assert 0 == terminal.finish()
        table, more, _ = terminal.shown.partition("coatcheck: more")
        lines = [line.rstrip() for line in table.splitlines()]
        assert more
        assert columns >= max(map(len, lines))
        assert ["FAILURE", "the newest 1 of 2"] == [lines[0].split()[0], lines[-1]]

    with cli.terminal("list", columns=40) as terminal:
        assert 0 == terminal.finish()
    lines = [line.rstrip() for line in terminal.shown.splitlines()]
    assert lines[0].startswith("FAILURE  ")
    shown = [f"  {task_id}", "  ValueError: some words that are longer", "  than the terminal"]
    assert shown == lines[1:4]


def test_messages_break_between_words(cli: CommandLine) -> None:
    """
    A terminal shows a long message with whole words; elsewhere it is one line.
    """
    with cli.terminal("get", "nothing-of-that-name", columns=40) as terminal:
        assert 4 == terminal.finish()
    done = cli("get", "nothing-of-that-name")

    lines = terminal.shown.splitlines()
    assert 2 < len(lines)
    assert 40 >= max(map(len, lines))
    assert 1 == done.stderr.count("\n")
    assert " ".join(map(str.strip, lines)) == done.stderr.strip()


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("SUCESS", "; did you mean SUCCESS?"),
        ("ZIPPED", ""),
        ("FAILED", "; did you mean FAILURE?"),
        ("failure", ""),
    ],
)
def test_list_of_a_state_that_no_task_has(cli: CommandLine, state: str, hint: str) -> None:
    """
    A state that nobody has is named, with the one that may have been meant.
    """
    with cli.results as results:
        results.store_result("t", 1)
    for arguments in ((), ("--json",)):
        done = cli("list", "--state", state, *arguments)
        assert (0, "") == (done.returncode, done.stdout)
        where = f"is stored in {cli.url}{hint}"
        assert f"coatcheck: no task in the state {state.upper()} {where}\n" == done.stderr


@pytest.mark.parametrize("mark", ["lost", "revoked"])
def test_our_own_failures_bear_our_names(cli: CommandLine, mark: str) -> None:
    """
    A lost or revoked task shows no class of Celery.
    """
    with cli.results as results:
        if mark == "lost":
            failure = Failure.worker_lost("no sign of life")
            results.store_result("t", failure, "FAILURE")
        else:
            results.mark_as_revoked("t", "by hand")
        error = results.get_result("t")
    shown = cli("get", "t").stderr + cli("list").stdout + cli("wait", "t").stdout
    shown += str(error) + repr(error.failure)

    assert "celery" not in shown
    assert "billiard" not in shown
    assert ("WorkerLostError: no sign" if mark == "lost" else "TaskRevokedError: by hand") in shown


def test_text_that_no_encoding_has(cli: CommandLine) -> None:
    """
    A lone surrogate, or a terminal without the character, does not keep a value from its reader.
    """
    with cli.results as results:
        results.store_result("t", "a\ud800 ü €")
    plain = cli("get", "t", env={"PYTHONIOENCODING": "latin-1"}, text=False, encoding="latin-1")
    record = cli("get", "t", "--json", env={"PYTHONIOENCODING": "ascii"})

    assert "a\\ud800 ü \\u20ac\n" == plain.stdout
    assert "a\ud800 ü €" == json.loads(record.stdout)["result"]


def test_a_broken_pipe_is_silent(cli: CommandLine) -> None:
    """
    `coatcheck list | head -1` prints a line and nothing else.
    """
    with cli.results as results:
        results.store_many({f"t{number}": "x" * 500 for number in range(2000)})
    process = cli.start("list", "--limit", "2000")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("STATE")
    process.stdout.close()

    assert "" == process.stderr.read()
    assert 141 == process.wait(PATIENCE)
    process.stderr.close()


def test_version(cli: CommandLine) -> None:
    """
    `version` prints the version, and needs no store.
    """
    done = cli("version", env={"COATCHECK_URL": "nonsense://"})

    assert (0, f"coatcheck {coatcheck.__version__}\n") == (done.returncode, done.stdout)
    assert coatcheck.__version__ == json.loads(cli("version", "--json").stdout)["coatcheck"]


def test_get_can_check_the_worker(cli: CommandLine) -> None:
    """
    --check notices a lost worker, and says of other running tasks what it found.
    """
    gone = {"every": 0.05, "beat": 1}
    with cli.results as results:
        results.store_result("lost", None, "STARTED", heartbeat=gone)
        results.mark_as_started("silent")
        with results.running("alive", heartbeat=0.1):
            plain, alive = cli("get", "alive"), cli("get", "alive", "--check")
    unchecked, lost = cli("get", "lost"), cli("get", "lost", "--check")
    silent, unknown = cli("get", "silent", "--check"), cli("get", "none", "--check")

    assert [3, 3, 3, 1, 3, 4] == [
        done.returncode for done in (plain, alive, unchecked, lost, silent, unknown)
    ]
    assert plain.stderr.strip() + "; its worker is alive\n" == alive.stderr
    assert "is not ready: STARTED\n" in unchecked.stderr
    assert "'lost' is FAILURE: WorkerLostError: worker unknown gave no sign of life" in lost.stderr
    assert "no signs of life that could be checked" in silent.stderr


def test_get_from_a_store_of_one_process(cli: CommandLine) -> None:
    """
    Where no process sees what another stored, that is said.
    """
    unknown = cli("get", "t", "--backend", "memory://"), cli("get", "t", "--check")

    assert [4, 4] == [done.returncode for done in unknown]
    assert unknown[0].stderr.endswith("; memory:// is seen by one process only\n")
    assert unknown[1].stderr.endswith("expired or was forgotten\n")
