"""
`coatcheck completion`: what real shells offer.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.cli import PATIENCE, CommandLine, Terminal

CASES = [
    ("coatcheck re", ["reap", "revoke"]),
    ("coatcheck list --wor", ["--worker"]),
    ("coatcheck list --state fai", ["FAILURE"]),
    ("coatcheck list --sort o", ["oldest"]),
    ("coatcheck list --backend fi", ["file://"]),
    ("coatcheck --backend sho", ["shop"]),
    ("coatcheck doctor sh", ["shop"]),
    ("coatcheck completion z", ["zsh"]),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """
    The environment of a shell in a directory with configured names, whose `coatcheck` is this one.
    """
    (tmp_path / "coatcheck.toml").write_text('[backends.shop]\nurl = "redis://nowhere.invalid"\n')
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return CommandLine(tmp_path).environment(PATH=path, HOME=str(tmp_path), TERM="dumb")


def run(directory: Path, environment: dict[str, str], *command: str) -> list[str]:
    """
    Run a shell, and return its lines.
    """
    done = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "" == done.stderr
    return done.stdout.splitlines()


def test_bash(tmp_path: Path, environment: dict[str, str]) -> None:
    """
    bash offers commands, options, their values, configured names and schemes.
    """
    script = ['eval "$(coatcheck completion bash)"']
    for line, _ in CASES:
        words = line.split()
        script.append(
            f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); "
            "$(complete -p coatcheck | sed 's/.*-F \\([^ ]*\\) .*/\\1/') coatcheck; echo ${COMPREPLY[*]}"
        )
    lines = run(tmp_path, environment, "bash", "--norc", "-c", "\n".join(script))

    assert [" ".join(sorted(expected)) for _, expected in CASES] == [
        " ".join(sorted(line.split())) for line in lines
    ]


def test_fish(tmp_path: Path, environment: dict[str, str]) -> None:
    """
    fish offers the same.
    """
    script = ["coatcheck completion fish | source"]
    script += [f"echo (complete -C '{line}' | string split -f1 \\t)" for line, _ in CASES]
    lines = run(tmp_path, environment, "fish", "--no-config", "-c", "\n".join(script))

    assert [expected for _, expected in CASES] == [sorted(line.split()) for line in lines]


@contextmanager
def zsh(directory: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """
    A zsh in a terminal, with the script.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-f", "-i"], cwd=directory, env=environment,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        terminal.type(b"PS1='ready> '; autoload -Uz compinit; compinit -u -d dump; ")
        terminal.type(b'eval "$(coatcheck completion zsh)"; echo s"et"\n')
        terminal.read_until("set\r\n")
        yield terminal
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_zsh(tmp_path: Path, environment: dict[str, str]) -> None:
    """
    zsh completes a command, a configured name and a scheme where only one fits.
    """
    with zsh(tmp_path, environment) as terminal:
        for typed, completed in (
            ("rea", "reap"),
            ("doctor sh", "shop"),
            ("get --backend fi", "file://"),
        ):
            terminal.raw = ""
            terminal.type(f"coatcheck {typed}\t".encode())
            terminal.read_until(completed)
            terminal.type(b"\x15")  # clear the line


def test_broken_configuration(tmp_path: Path, environment: dict[str, str]) -> None:
    """
    Although the configuration cannot be read, schemes are offered, and nothing is said.
    """
    (tmp_path / "coatcheck.toml").write_text("?")
    asked = {"_COATCHECK_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    environment |= asked | {"COMP_WORDS": "coatcheck\n--backend\nfi"}

    assert ["plain,file://"] == run(tmp_path, environment, "coatcheck")
