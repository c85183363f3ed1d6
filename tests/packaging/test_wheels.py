"""
What is built of the members can be installed and used, without the checkout.
"""

import json
import os
import subprocess
import tarfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

from .conftest import MEMBERS, ROOT, Environment, project, wheel_of

each_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)

VERSIONS = """
import json, importlib.metadata as m
print(json.dumps({d.name: d.version for d in m.distributions() if d.name.startswith("coatcheck")}))
"""
LOAD_ALL = """
import json, importlib.metadata as m
groups = ["coatcheck.backends", "coatcheck.aio_backends", "coatcheck.serializers"]
found = [(e.group, e.name, e.load()) for g in groups for e in m.entry_points(group=g)]
print(json.dumps(sorted([group, name, cls.__module__] for group, name, cls in found)))
"""
ROUND_TRIP = """
import asyncio, coatcheck
with coatcheck.by_url("memory://") as results:
    assert results.store_result("t1", 579)
    assert results.AsyncResult("t1").get(timeout=1) == 579
async def main():
    async with coatcheck.aio.by_url("memory://") as results:
        assert await results.store_result("t2", 579)
        assert await results.AsyncResult("t2").get(timeout=1) == 579
asyncio.run(main())
"""
BY_URL = """
import coatcheck
print(type(coatcheck.by_url("redis://localhost:1/0")).__name__)
coatcheck.aio.by_url("redis://localhost:1/0")
"""


def metadata(wheel: Path) -> Message:
    """
    Return the core metadata of *wheel*.
    """
    with ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


@each_member
def test_a_wheel_holds_the_package_and_nothing_else(member: Path, wheels: list[Path]) -> None:
    """
    The wheel has one package, every file of it, types marked, and a licence.
    """
    with ZipFile(wheel_of(project(member)["name"], wheels)) as archive:
        names = set(archive.namelist())
    package = next(path.name for path in (member / "src").iterdir() if path.is_dir())
    sources = {
        str(path.relative_to(member / "src"))
        for path in (member / "src" / package).rglob("*")
        if path.is_file() and not any(p.startswith((".", "__pycache__")) for p in path.parts)
    }

    assert sources == {name for name in names if ".dist-info/" not in name}
    assert f"{package}/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


@each_member
def test_metadata_says_what_pyproject_says(member: Path, wheels: list[Path]) -> None:
    """
    Extras, dependencies, a description and the changes reach the user.
    """
    table = project(member)
    found = metadata(wheel_of(table["name"], wheels))

    assert sorted(table.get("optional-dependencies", {})) == sorted(
        found.get_all("Provides-Extra", [])
    )
    assert table["version"] == found["Version"]
    assert table["requires-python"] == found["Requires-Python"]
    text = str(found.get_payload())
    assert (member / "README.md").read_text(encoding="utf-8") in text
    assert f"## {table['version']}" in text.partition("# Changes of")[2]
    assert [f"Changelog, {table['urls']['Changelog']}"] == found.get_all("Project-URL")


def test_every_plugin_has_an_extra() -> None:
    """
    `coatcheck[all]` asks for every other extra but the test kit's and the observer's, which works once it is
    installed. Each plugin of the house is in an extra.
    """
    extras = project(ROOT / "core")["optional-dependencies"]
    named = {line.partition(">")[0] for lines in extras.values() for line in lines}
    (everything,) = extras["all"]

    assert {*extras} - {"all", "otel", "testing"} == {
        *everything.partition("[")[2].rstrip("]").split(",")
    }
    assert {project(m)["name"] for m in MEMBERS if m.parent.name == "plugins"} <= named


@each_member
def test_the_version_is_said_once(member: Path) -> None:
    """
    The package's `__version__` is the distribution's.
    """
    package = next(path for path in (member / "src").iterdir() if path.is_dir())
    line = f'__version__ = "{project(member)["version"]}"'

    assert line in (package / "__init__.py").read_text(encoding="utf-8").splitlines()


@each_member
def test_an_sdist_can_be_built_from(member: Path, dist: Path) -> None:
    """
    The sdist has the sources, the licence and the text of the index's page.
    """
    stem = f"{project(member)['name'].replace('-', '_')}-{project(member)['version']}"
    sdist = dist / f"{stem}.tar.gz"
    if not sdist.is_file():
        pytest.skip("sdists are built by `nox -s build`")
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(f"{stem}/") for name in archive.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= names


def test_the_redis_extra_brings_the_plugin(installed: Environment) -> None:
    """
    `pip install "coatcheck[redis]"` installs core and the plugin, in the versions built here.
    """
    expected = {
        project(ROOT / m)["name"]: project(ROOT / m)["version"] for m in ("core", "plugins/redis")
    }

    assert expected == json.loads(installed.code(VERSIONS))


def test_entry_points_resolve(installed: Environment) -> None:
    """
    What every installed member names as an entry point can be imported.
    """
    declared = [
        (group, name, target.partition(":")[0].partition(".")[0])
        for member in (ROOT / "core", ROOT / "plugins" / "redis")
        for group, entries in project(member).get("entry-points", {}).items()
        if group not in ("coatcheck.known", "coatcheck.instead")  # data, not code
        for name, target in entries.items()
    ]
    loaded = json.loads(installed.code(LOAD_ALL))

    assert sorted(declared) == [(g, n, module.partition(".")[0]) for g, n, module in loaded]


def test_an_installed_coatcheck_works(installed: Environment) -> None:
    """
    A value goes in and comes out, sync and asyncio, and a plugin is found by its scheme.
    """
    installed.code(ROUND_TRIP)

    assert "Results" == installed.code(BY_URL)


@pytest.mark.parametrize("command", [["bin/coatcheck"], ["bin/python", "-m", "coatcheck"]])
def test_the_command_line_asks_for_its_extra(installed: Environment, command: list[str]) -> None:
    """
    Without the extra, the command says in one line what to install.
    """
    done = installed.run(installed.path / command[0], *command[1:], "version")

    assert 2 == done.returncode
    assert "" == done.stdout
    assert "coatcheck[cli]" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_an_unknown_scheme_names_what_to_install(wheels: list[Path], tmp_path: Path) -> None:
    """
    Core alone can be installed, and knows which extra a scheme wants.
    """
    core = Environment.made(tmp_path / "core")
    core.pip("install", wheel_of("coatcheck", wheels))
    core.code(ROUND_TRIP)
    done = core.run(core.python, "-c", BY_URL)

    assert 1 == done.returncode
    assert "pip install 'coatcheck[redis]'" in done.stderr.splitlines()[-1]


def test_members_install_from_a_checkout(tmp_path: Path) -> None:
    """
    Plain `pip install ./core ./plugins/redis` works, and leaves nothing behind in the checkout.
    """

    def state() -> set[Path]:
        return {
            path
            for member in ("core", "plugins/redis")
            for path in (ROOT / member).rglob("*")
            if "__pycache__" not in path.parts and "src" not in path.parts
        }

    before = state()
    environment = Environment.made(tmp_path / "checkout")
    environment.pip("install", ROOT / "core", ROOT / "plugins" / "redis")
    environment.code(ROUND_TRIP)

    assert "Results" == environment.code(BY_URL)
    assert before == state()


def test_uv_resolves_the_workspace() -> None:
    """
    uv takes every member from the checkout, not from the index.
    """
    uv = pytest.importorskip("uv", reason="uv is not installed")
    everything = ["--all-packages", "--all-extras", "--all-groups"]
    done = subprocess.run(
        [uv.find_uv_bin(), "sync", "--dry-run", *everything],
        check=False,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    taken = [line for line in done.stderr.splitlines() if line.startswith(" + coatcheck")]
    assert len(MEMBERS) == len(taken)
    members = sorted(MEMBERS, key=lambda member: project(member)["name"])
    assert all(member.as_uri() in line for member, line in zip(members, taken, strict=True))
