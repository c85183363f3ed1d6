"""
The package that `coatcheck new-backend` writes works as it is written.
"""

from pathlib import Path

import pytest

from .conftest import Environment, wheel_of


@pytest.fixture(scope="module")
def environment(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """
    An environment in which the command has run, and the package is installed as its README says.
    """
    environment = Environment.made(tmp_path_factory.mktemp("author"))
    core = wheel_of("coatcheck", wheels).as_uri()
    environment.pip("install", f"coatcheck[cli] @ {core}")
    done = environment.run(environment.path / "bin" / "coatcheck", "new-backend", "acme-kv")
    assert done.returncode == 0, done.stderr
    package = environment.path / "coatcheck-acme-kv"
    environment.pip("install", "-e", f"{package}[tests,lint]", f"coatcheck[cli,testing] @ {core}")
    return environment


def test_style_and_types(environment: Environment) -> None:
    """
    ruff and mypy, as the package's noxfile calls them, find nothing.
    """
    package = environment.path / "coatcheck-acme-kv"
    for words in (("ruff", "check"), ("mypy", "--config-file", "pyproject.toml")):
        done = environment.run(
            "env", "-C", package, environment.path / "bin" / words[0], *words[1:]
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract(environment: Environment) -> None:
    """
    The proof of both sides passes.
    """
    package = environment.path / "coatcheck-acme-kv"
    done = environment.run(environment.python, "-m", "pytest", "-q", "--rootdir", package, package)

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert "TestAcmeKvAio" in done.stdout


def test_it_is_found(environment: Environment) -> None:
    """
    The scheme is found on both sides, and neither breaks the rules for plugins.
    """
    done = environment.run(environment.path / "bin" / "coatcheck", "backends")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("acme-kv\t")]

    assert ["coatcheck-acme-kv 0.1.0", "push scan shared", "native", "ok"] == line.split("\t")[1:]
