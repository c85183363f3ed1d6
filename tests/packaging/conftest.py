"""
Wheels of all members, and environments that have nothing but what is installed from them.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = [
    path.parent
    for pattern in ("core", "plugins/*", "contrib/*")
    for path in sorted(ROOT.glob(f"{pattern}/pyproject.toml"))
]
#: What would let the checkout or the surrounding environment be found.
LEAKS = ("PYTHON", "COVERAGE", "VIRTUAL_ENV", "UV_")


def project(member: Path) -> dict[str, Any]:
    """
    Return the `[project]` table of a member.
    """
    return tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@dataclass(frozen=True)
class Environment:
    """
    A virtual environment of its own.
    """

    path: Path

    @classmethod
    def made(cls, path: Path) -> "Environment":
        subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
        return cls(path)

    @property
    def python(self) -> str:
        return str(self.path / "bin" / "python")

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """
        Run *command* in the environment's own directory.
        """
        environ = {k: v for k, v in os.environ.items() if not k.startswith(LEAKS)}
        return subprocess.run(
            [str(part) for part in command],
            check=False,
            cwd=self.path,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def pip(self, *arguments: str | Path) -> None:
        """
        Run pip, and show what it said if it fails.
        """
        done = self.run(self.python, "-m", "pip", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def code(self, code: str) -> str:
        """
        Run *code* with every warning an error, and return what it prints.
        """
        done = self.run(self.python, "-I", "-W", "error", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def wheel_of(name: str, wheels: Iterable[Path]) -> Path:
    """
    Return the wheel of the distribution *name*.
    """
    (found,) = [w for w in wheels if w.name.partition("-")[0] == name.replace("-", "_")]
    return found


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A directory with the wheels of all members: that of `nox -s build`, else built here.
    """
    given = os.environ.get("COATCHECK_DIST")
    if given:
        return Path(given)
    made = tmp_path_factory.mktemp("dist")
    builder = Environment.made(tmp_path_factory.mktemp("builder"))
    builder.pip("wheel", "--no-deps", "--wheel-dir", made, *MEMBERS)
    return made


@pytest.fixture(scope="session")
def wheels(dist: Path) -> list[Path]:
    """
    One wheel for each member.
    """
    return sorted(dist.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """
    An environment with `coatcheck[redis]`, as a user installs it.
    """
    # By address, because of two versions in --find-links and on the index the higher is taken.
    # For core not by constraint: pip before 24 cannot match one with a requirement's extras.
    core, *plugins = [project(member)["name"] for member in MEMBERS]
    address = {name: wheel_of(name, wheels).as_uri() for name in (core, *plugins)}
    constraints = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    constraints.write_text("\n".join(f"{name} @ {address[name]}" for name in plugins))
    environment = Environment.made(tmp_path_factory.mktemp("installed"))
    requirement = f"{core}[redis] @ {address[core]}"
    environment.pip("install", "--constraint", constraints, requirement)
    return environment
