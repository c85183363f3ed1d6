"""
`coatcheck new-backend`: the package, without its installation, which `tests/packaging` proves.
"""

import ast
import json
from pathlib import Path

import pytest
from support.cli import CommandLine

FILES = {
    ".github/workflows/tests.yml",
    ".gitignore",
    "README.md",
    "noxfile.py",
    "pyproject.toml",
    "src/coatcheck_acme_kv/__init__.py",
    "src/coatcheck_acme_kv/py.typed",
    "src/coatcheck_acme_kv/sync.py",
    "src/coatcheck_acme_kv/asyncio.py",
    "tests/test_contract.py",
}


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def files_below(directory: Path) -> dict[str, str]:
    """
    Return the text of each file, by its path.
    """
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_text() for path in paths}


def test_a_package(cli: CommandLine, tmp_path: Path) -> None:
    """
    All parts are there, under the name given, and no word of the template is left.
    """
    done = cli("new-backend", "acme-kv", cwd=tmp_path)
    files = files_below(tmp_path / "coatcheck-acme-kv")

    assert (0, "") == (done.returncode, done.stderr)
    assert "Next: cd coatcheck-acme-kv" in done.stdout
    assert FILES <= set(files)
    assert not [path for path, text in files.items() if "mystore" in (path + text).lower()]
    assert "class AcmeKvBackend(" in files["src/coatcheck_acme_kv/sync.py"]
    assert 'acme-kv = "coatcheck_acme_kv:AcmeKvBackend"' in files["pyproject.toml"]


def test_only_the_doors_are_used(cli: CommandLine, tmp_path: Path) -> None:
    """
    The package imports only the public modules of coatcheck.
    """
    cli("new-backend", "acme", str(tmp_path / "made"))
    sources = [t for path, t in files_below(tmp_path / "made").items() if path.endswith(".py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    ours = {name for name in imported if name.partition(".")[0] == "coatcheck"}

    assert {"coatcheck", "coatcheck.plugin", "coatcheck.aio.plugin", "coatcheck.testing"} == ours


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Acme", "is no name for a backend"),
        ("acme_kv", "is no name for a backend"),
        ("-x", "No such option"),
        ("1st", "is no name for a backend"),
        ("redis", "there is a backend for redis:// already"),
        ("memory", "there is a backend for memory:// already"),
    ],
)
def test_a_name_that_cannot_be(cli: CommandLine, tmp_path: Path, name: str, said: str) -> None:
    """
    A name that is no scheme, or that of a known backend, is refused, and nothing is written.
    """
    done = cli("new-backend", name, str(tmp_path / "made"))

    assert (2, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert not (tmp_path / "made").exists()


def test_nothing_is_overwritten(cli: CommandLine, tmp_path: Path) -> None:
    """
    A directory with files, or a file, is refused and stays as it is; an empty directory is used.
    """
    for name in ("full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    for taken in ("full", "full/notes"):
        done = cli("new-backend", "acme", str(tmp_path / taken))

        assert (2, "") == (done.returncode, done.stdout)
        assert "nothing was written" in done.stderr
    assert {"notes": "mine"} == files_below(tmp_path / "full")
    done = cli("new-backend", "acme", str(tmp_path / "empty"), "--json")

    assert {"directory": str(tmp_path / "empty"), "scheme": "acme"} == json.loads(done.stdout)
    assert "pyproject.toml" in files_below(tmp_path / "empty")
