"""
`coatcheck run`: a command as a task, from STARTED to its outcome, whatever comes in between.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.cli import PATIENCE, CommandLine, until

import coatcheck
from coatcheck.cli import process, run

ROOT = Path(__file__).parents[2]

STUBBORN = """
import os, signal, time
for n in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(n, lambda n, _: os.write(1, b"%d\\n" % n))
os.write(1, b"ready\\n")  # whole lines: a signal may come in the middle of a print
while True: time.sleep(1)
"""


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def python(code: str) -> tuple[str, ...]:
    """
    Return the command that runs *code*.
    """
    return "--", sys.executable, "-c", code


def meta_of(cli: CommandLine, task_id: str) -> coatcheck.ResultMeta:
    with cli.results as results:
        return results.get_task_meta(task_id)


def attributes_of(cli: CommandLine, task_id: str) -> dict[str, Any]:
    failure = meta_of(cli, task_id).failure
    assert failure is not None
    return failure.attributes


def test_output_and_status_are_the_result(cli: CommandLine) -> None:
    """
    Output passes unchanged, and is stored with the exit status; the command's name is the task's.
    """
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    done = cli("run", "--id", "t", *python(code))

    assert (0, "out\n", "err\n") == (done.returncode, done.stdout, done.stderr)
    meta = meta_of(cli, "t")
    assert 0 <= meta.result.pop("duration") < PATIENCE
    expected = {"exit_status": 0, "stdout": "out\n", "stderr": "err\n", "truncated": False}
    assert expected == meta.result
    assert Path(sys.executable).name == meta.name
    assert meta.date_started is not None


def test_the_command_line_is_not_stored(cli: CommandLine) -> None:
    """
    Arguments, which may be secrets, are nowhere in the record.
    """
    cli("run", "--id", "t", *python("import sys; sys.exit(3)  # hunter2"))

    assert "hunter2" not in cli("get", "t", "--json").stdout
    assert "hunter2" not in str(meta_of(cli, "t").document)


def test_name_and_expiry_can_be_given(cli: CommandLine) -> None:
    """
    --name names the task, and --expires says how long it is kept.
    """
    cli("run", "--id", "kept", "--name", "nightly", "--expires", "none", "--", "true")
    cli("run", "--id", "brief", "--expires", "60", "--", "true")

    kept, brief = meta_of(cli, "kept"), meta_of(cli, "brief")
    assert ("nightly", None) == (kept.name, kept.expires_at)
    assert brief.expires_at is not None
    assert brief.date_done is not None
    assert 50 < (brief.expires_at - brief.date_done).total_seconds() < 61


def test_any_bytes_pass_unchanged(cli: CommandLine) -> None:
    """
    Output that is no text passes byte by byte, and its record can be read.
    """
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)"
    process = cli.start("run", "--id", "t", *python(code), text=False)
    stdout, _ = process.communicate(timeout=PATIENCE)

    assert bytes(range(256)) * 1000 == stdout
    assert "\x00" in meta_of(cli, "t").result["stdout"]


def test_a_stdout_that_does_not_block(cli: CommandLine) -> None:
    """
    Output that our stdout does not take at once is not lost.
    """
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    process = cli.start("run", *python("print('x' * 1_000_000)"), stdout=theirs)
    os.close(theirs)
    time.sleep(0.5)  # for the pipe to be full
    with open(ours, "rb") as output:
        assert b"x" * 1_000_000 + b"\n" == output.read()
    process.communicate(timeout=PATIENCE)
    assert 0 == process.returncode


def test_output_passes_at_once(cli: CommandLine) -> None:
    """
    What the command prints is seen while it runs, not after.
    """
    process = cli.start("run", *python("print('now', flush=True); input()"), stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None

    assert "now\n" == process.stdout.readline()
    assert process.poll() is None
    process.stdin.write("\n")
    process.communicate(timeout=PATIENCE)
    assert 0 == process.returncode


def test_of_much_output_the_tail_is_kept(cli: CommandLine) -> None:
    """
    All output passes, the last 64 KiB of a stream are stored, and the record says so.
    """
    done = cli("run", "--id", "t", *python("for n in range(50_000): print('line', n)"))

    assert 50_000 == done.stdout.count("\n")
    result = meta_of(cli, "t").result
    assert result["truncated"]
    assert 64 * 1024 >= len(result["stdout"]) > 60_000
    assert done.stdout.endswith(result["stdout"])


@pytest.mark.parametrize("status", [1, 2, 77])
def test_a_failed_command_is_a_failure(cli: CommandLine, status: int) -> None:
    """
    A status other than 0 makes FAILURE, with status and output as attributes, and is ours too.
    """
    code = f"import sys; print('so far'); sys.stderr.write('it broke\\n'); sys.exit({status})"
    done = cli("run", "--id", "t", *python(code))

    assert status == done.returncode
    assert "FAILURE" == meta_of(cli, "t").status
    attributes = attributes_of(cli, "t")
    assert (status, "so far\n", "it broke\n") == tuple(
        attributes[name] for name in ("exit_status", "stdout", "stderr")
    )
    with cli.results as results, pytest.raises(coatcheck.TaskError) as raised:
        results.AsyncResult("t").get(timeout=0)
    assert f"exit status {status}: it broke" == str(raised.value)
    assert status == raised.value.exit_status  # type: ignore[attr-defined]


def test_a_command_ended_by_a_signal(cli: CommandLine) -> None:
    """
    A command that a signal ends is a failure that names it, and the status is a shell's.
    """
    done = cli("run", "--id", "t", *python("import os; os.kill(os.getpid(), 9)"))

    assert 128 + 9 == done.returncode
    assert 128 + 9 == attributes_of(cli, "t")["exit_status"]
    assert "SIGKILL" in str(meta_of(cli, "t").result)


@pytest.mark.parametrize(("mode", "status"), [(None, 127), (0o644, 126)])
def test_a_command_that_cannot_be_started(
    cli: CommandLine, tmp_path: Path, mode: int | None, status: int
) -> None:
    """
    A command that is not there, or not executable, is a failure, and one line on stderr.
    """
    program = tmp_path / "program"
    if mode is not None:
        program.write_text("no program")
        program.chmod(mode)
    done = cli("run", "--id", "t", "--", str(program))

    assert status == done.returncode
    assert done.stderr.startswith("coatcheck: ")
    assert 1 == done.stderr.count("\n")
    assert "FAILURE" == meta_of(cli, "t").status
    assert status == attributes_of(cli, "t")["exit_status"]


def test_a_task_that_is_over_is_not_run_again(cli: CommandLine, tmp_path: Path) -> None:
    """
    An id with a ready record is refused before the command starts, with the way out.
    """
    cli("run", "--id", "t", "--", "true")
    done = cli("run", "--id", "t", "--", "touch", str(tmp_path / "ran"))

    assert 2 == done.returncode
    assert (
        "coatcheck: task 't' is over already (SUCCESS): use another --id, or none\n" == done.stderr
    )
    assert not (tmp_path / "ran").exists()


def test_without_the_store_nothing_is_run(cli: CommandLine, tmp_path: Path) -> None:
    """
    A store that cannot be reached at the start is one line, status 2, and the command not run.
    """
    (tmp_path / "file").write_text("in the way")
    url = f"sqlite:///{tmp_path}/file/results.db"
    done = cli("run", "--backend", url, "--", "touch", str(tmp_path / "ran"))

    assert 2 == done.returncode
    assert 1 == done.stderr.count("\n")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("own", "status"), [(0, 125), (3, 3)])
def test_a_store_that_goes_away_does_not_stop_the_command(
    cli: CommandLine, tmp_path: Path, own: int, status: int
) -> None:
    """
    Without its store a command runs to its end; then one line, and status 125 if it succeeded.
    """
    code = f"import sys; input(); print('9/10 to the end', flush=True); sys.exit({own})"
    url = f"{cli.url}?operation_timeout=2"
    process = cli.start(
        "run", "--backend", url, "--id", "t", "--heartbeat", "0.1", *python(code), stdin=-1
    )
    with cli.results as results:
        until(lambda: results.get_state("t") == "STARTED")
    with closing(sqlite3.connect(tmp_path / "results.db", timeout=PATIENCE)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else can write
        stdout, stderr = process.communicate("\n", timeout=PATIENCE)

    assert (status, "9/10 to the end\n") == (process.returncode, stdout)
    assert stderr.startswith(
        f"coatcheck: the outcome (exit status {own}) of task 't' is not stored"
    )
    assert "locked" in stderr
    assert 1 == stderr.count("\n")
    assert "STARTED" == meta_of(cli, "t").status


def test_an_outcome_that_came_second_is_said(cli: CommandLine) -> None:
    """
    Where somebody else ended the task meanwhile, their record stays, and run says so.
    """
    process = cli.start("run", "--id", "t", *python("input()"), stdin=subprocess.PIPE)
    with cli.results as results:
        until(lambda: results.get_state("t") == "STARTED")
        results.mark_as_revoked("t", "by hand")
    _, stderr = process.communicate("\n", timeout=PATIENCE)

    assert 125 == process.returncode
    assert "is not stored: the task was over already" in stderr
    assert "REVOKED" == meta_of(cli, "t").status


def test_json_is_one_document(cli: CommandLine) -> None:
    """
    With --json the command's output goes to stderr, and the record alone to stdout.
    """
    done = cli("run", "--json", *python("print('out')"))

    record = json.loads(done.stdout)
    assert "SUCCESS" == record["status"]
    assert "out\n" == record["result"]["stdout"] == done.stderr
    assert "SUCCESS" == meta_of(cli, record["task_id"]).status


def test_the_task_is_started_while_it_runs(cli: CommandLine) -> None:
    """
    While the command runs, the record is STARTED and its heartbeat goes on.
    """
    process = cli.start(
        "run", "--id", "t", "--heartbeat", "0.05", *python("input()"), stdin=subprocess.PIPE
    )
    with cli.results as results:
        first = until(lambda: results.get_task_meta("t").heartbeat)
        until(lambda: results.get_task_meta("t").heartbeat != first)
        assert "STARTED" == results.get_state("t")
    process.communicate("\n", timeout=PATIENCE)
    assert 0 == process.returncode


@pytest.mark.parametrize("line", ["37/100", "a: 37% done", r"\x1b]9;4;1;37\x07", r"37 %\r"])
def test_progress_is_stored(cli: CommandLine, line: str) -> None:
    """
    Progress that the command prints is stored as PROGRESS, in either stream.
    """
    code = f"import sys; print('{line}', file=sys.stderr, flush=True); input()"
    process = cli.start("run", "--id", "t", *python(code), stdin=subprocess.PIPE)
    with cli.results as results:
        until(lambda: results.get_state("t") == "PROGRESS")
        assert {"current": 37, "total": 100} == results.get_result("t")
    process.communicate("\n", timeout=PATIENCE)
    assert "SUCCESS" == meta_of(cli, "t").status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_revokes(cli: CommandLine, number: signal.Signals) -> None:
    """
    SIGINT, SIGTERM and SIGHUP are passed on, the record is REVOKED and names the signal.
    """
    code = """
import os, signal, sys, time
for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(n, lambda n, _: sys.exit(print("got", n)))
os.write(1, b"ready\\n")  # a whole line: a signal may come in the middle of a print
time.sleep(600)
"""
    process = cli.start("run", "--id", "t", *python(code))
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE)

    assert 128 + number == process.returncode
    assert (f"got {int(number)}\n", "") == (stdout, stderr)
    meta = meta_of(cli, "t")
    assert "REVOKED" == meta.status
    assert f"stopped by {number.name}" in str(meta.result)
    attributes = attributes_of(cli, "t")
    assert f"ready\ngot {int(number)}\n" == attributes["stdout"]
    assert 128 + number == attributes["exit_status"]


def test_a_signal_reaches_what_the_command_started(cli: CommandLine) -> None:
    """
    Without a terminal, the signal ends the command's own children too.
    """
    code = (
        "import os, subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "print(child.pid, flush=True); child.wait()"
    )
    process = cli.start("run", *python(code))
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=PATIENCE)

    until(lambda: not running(child))


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not (state.exists() and ") Z " in state.read_text())
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_the_keyboard_interrupts_once(cli: CommandLine) -> None:
    """
    In a terminal, Ctrl-C reaches the command from the keyboard, and is not passed on again.
    """
    code = """
import os, signal, time
caught = []
signal.signal(signal.SIGINT, lambda *_: caught.append(1))
os.write(1, b"ready\\n")
while not caught: time.sleep(0.01)
time.sleep(1)
print("interrupted", len(caught), "times", flush=True)
"""
    with cli.terminal("run", "--id", "t", *python(code)) as terminal:
        terminal.read_until("ready")
        terminal.type(b"\x03")
        status = terminal.finish()

    assert 130 == status
    assert "coatcheck: task t started" in terminal.shown
    assert "interrupted 1 times" in terminal.shown
    assert "coatcheck: task t: REVOKED after" in terminal.shown
    assert "stopped by SIGINT" in str(meta_of(cli, "t").result)


def test_a_signal_that_was_ignored_stays_so(cli: CommandLine) -> None:
    """
    Under nohup, SIGHUP ends neither us nor the command.
    """
    command = [sys.executable, "-m", "coatcheck", "run", "--id", "t", *python("input()")]
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command],
        env=cli.environment(),
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    with cli.results as results:
        until(lambda: results.get_state("t") == "STARTED")
    process.send_signal(signal.SIGHUP)
    process.communicate(b"\n", timeout=PATIENCE)

    assert 0 == process.returncode


def test_a_stubborn_command_is_killed(cli: CommandLine) -> None:
    """
    A command that ignores the signals is killed by a second SIGINT, and the task revoked.
    """
    process = cli.start("run", "--id", "t", *python(STUBBORN))
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert f"{int(signal.SIGINT)}\n" == process.stdout.readline()

    time.sleep(1)  # one that comes at once would be part of the first
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert 130 == process.returncode
    assert "REVOKED" == meta_of(cli, "t").status


def test_time_runs_out_for_a_stubborn_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A command that ignores the first signal gets SIGTERM some time after it, and then SIGKILL.
    """
    monkeypatch.setattr(process, "TERMINATED_AFTER", 0.5)
    monkeypatch.setattr(process, "KILLED_AFTER", 1.5)

    def interrupt(data: bytes) -> None:
        if b"ready" in data:
            os.kill(os.getpid(), signal.SIGHUP)

    with process.Signals() as signals, open(os.devnull, "wb") as nowhere:
        child = process.Child(
            [sys.executable, "-c", STUBBORN],
            signals,
            stdout=nowhere.fileno(),
            stderr=nowhere.fileno(),
            seen=[interrupt, interrupt],
        )
        status = child.wait()

    assert -signal.SIGKILL == status
    assert signal.SIGHUP == child.stopped_by
    assert f"ready\n{int(signal.SIGHUP)}\n{int(signal.SIGTERM)}\n" == child.tails[0].text()


#: A run of a command, in which the signal comes to the thread that reads, the main thread not
#: being told of it: as if it had come a moment before that began to wait.
MISSED = """
import os, signal, sys
from coatcheck.cli import process

def interrupt(data):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
    os.kill(os.getpid(), signal.SIGHUP)

with process.Signals() as signals:
    # The whole line at once: the signal ends the command as soon as anything was read.
    code = "import os, time; os.write(1, b'ready\\\\n'); time.sleep(60)"
    command = [sys.executable, "-c", code]
    child = process.Child(command, signals, stdout=1, stderr=2, seen=[interrupt, interrupt])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    print(child.wait(), child.stopped_by)
"""


def test_a_signal_that_wakes_nobody() -> None:
    """
    A signal is passed on although the system told another thread of it than the one that waits.
    """
    ran = subprocess.run(
        [sys.executable, "-c", MISSED], check=True, capture_output=True, text=True, timeout=PATIENCE
    )

    assert f"ready\n{-signal.SIGHUP} {int(signal.SIGHUP)}\n" == ran.stdout


def test_a_signal_before_the_start(cli: CommandLine, tmp_path: Path) -> None:
    """
    A signal that comes before the command is started revokes the task, and nothing is run.
    """
    with cli.results as results, process.Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: signals.first)
        task = run.CommandTask(signals, results, "t", expires=None, heartbeat=None, fields={})
        command = ("touch", str(tmp_path / "ran"))
        assert 143 == run._Run(task, command, signals, to_stderr=False).outcome()
        assert "REVOKED" == results.get_state("t")
    assert not (tmp_path / "ran").exists()


def test_a_signal_without_a_name() -> None:
    """
    A signal that Python has no name for is shown by its number.
    """
    assert ("SIGTERM", "signal 1000") == (run._signal_name(15), run._signal_name(1000))


def test_a_reader_that_leaves_ends_the_command(cli: CommandLine) -> None:
    """
    Where nobody reads our output any longer, the command is ended as if we were not there.
    """
    process = cli.start("run", "--id", "t", *python("while True: print('y' * 1000)"))
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.wait(PATIENCE)

    assert "FAILURE" == meta_of(cli, "t").status
    assert process.stderr is not None
    process.stderr.close()


def test_what_the_command_leaves_behind_is_not_waited_for(cli: CommandLine) -> None:
    """
    A grandchild that holds the output open does not keep the task from ending.
    """
    code = (
        "import subprocess, sys; print(subprocess.Popen("
        "[sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    )
    done = cli("run", "--id", "t", *python(code))
    os.kill(int(done.stdout), signal.SIGKILL)

    assert 0 == done.returncode
    assert done.stdout == meta_of(cli, "t").result["stdout"]


def test_a_killed_run_is_noticed(cli: CommandLine) -> None:
    """
    After kill -9 of `coatcheck run`, `coatcheck wait` reports the lost worker.
    """
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    process = cli.start("run", "--id", "t", "--heartbeat", "0.2", *python(code))
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.communicate(timeout=PATIENCE)
        done = cli("wait", "t")
    finally:
        os.kill(child, signal.SIGKILL)

    assert 1 == done.returncode
    assert done.stdout.startswith("t\tFAILURE\tWorkerLostError: ")


def test_the_example(cli: CommandLine) -> None:
    """
    The README's first job runs as a task: its progress goes to stderr, its summary is kept.
    """
    example = str(ROOT / "docs" / "examples" / "stdlib_digest.py")
    done = cli("run", "--id", "digest", "--", sys.executable, example, "--limit", "40")

    assert 0 == done.returncode
    assert done.stdout.startswith("40 files, ")
    assert done.stderr.endswith("40/40\n")
    result = meta_of(cli, "digest").result
    assert done.stdout == result["stdout"]
    assert "40/40\r\n" == result["stderr"]


def test_a_revoked_command_is_ended(cli: CommandLine) -> None:
    """
    Once the task is revoked, the command gets SIGTERM, and the record stays.
    """
    code = "import time; print('ready', flush=True); time.sleep(600)"
    process = cli.start("run", "--id", "t", "--name", "n", "--heartbeat", "0.1", *python(code))
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    done = cli("revoke", "t", "--reason", "not needed")
    stdout, stderr = process.communicate(timeout=PATIENCE)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert 128 + signal.SIGTERM == process.returncode
    assert ("", "coatcheck: task 't' was revoked: not needed\n") == (stdout, stderr)
    meta = meta_of(cli, "t")
    assert ("REVOKED", "n") == (meta.status, meta.name)
