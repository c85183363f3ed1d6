"""
Plugins see only the doors of core.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import coatcheck.aio.plugin
import coatcheck.plugin

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "doors.md").read_text(encoding="utf-8")
PLUGINS = sorted(path for top in ("plugins", "contrib") for path in ROOT.glob(f"{top}/*/src/*"))
DOORS = {
    "coatcheck",
    "coatcheck.aio",
    "coatcheck.aio.plugin",
    "coatcheck.errors",
    "coatcheck.plugin",
    "coatcheck.testing",
}


def imported(tree: ast.Module) -> Iterator[str]:
    """
    Return the modules of core that are imported, as far as they are not doors.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
            if node.module == "coatcheck":
                yield from (
                    f"coatcheck.{alias.name}" for alias in node.names if alias.name[0] == "_"
                )


def passed_by(source: str) -> list[str]:
    """
    Return what *source* imports from core, past the doors.
    """
    names = imported(ast.parse(source))
    return sorted(
        name for name in names if name.partition(".")[0] == "coatcheck" and name not in DOORS
    )


@pytest.mark.parametrize("package", PLUGINS, ids=lambda path: path.name)
def test_plugins_use_the_doors(package: Path) -> None:
    """
    Plugins import from core only what is public.
    """
    sources = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    found = {path.name: passed_by(source) for path, source in sources.items()}

    assert sources
    assert {} == {name: names for name, names in found.items() if names}


def test_a_way_past_the_doors_is_noticed() -> None:
    """
    The test above sees imports of private modules in every form.
    """
    code = (
        "import coatcheck._a.b\ndef f():\n    from coatcheck._c import d\nfrom coatcheck import _e"
    )

    assert ["coatcheck._a.b", "coatcheck._c", "coatcheck._e"] == passed_by(code)
    assert [] == passed_by(
        "from coatcheck.plugin import URL\nimport coatcheck\nfrom coatcheck import ANY"
    )


@pytest.mark.parametrize("door", [coatcheck.plugin, coatcheck.aio.plugin])
def test_a_door_offers_what_it_names(door: object) -> None:
    """
    Every name of a door's `__all__` is there, and used or documented names have no underscore.
    """
    names = vars(door)["__all__"]

    assert len(set(names)) == len(names)
    assert all(hasattr(door, name) and not name.startswith("_") for name in names)


@pytest.mark.parametrize("door", [coatcheck.plugin, coatcheck.aio.plugin], ids=lambda d: d.__name__)
def test_the_page_has_every_name(door: ModuleType) -> None:
    """
    The reference page of the doors names all that they offer, each by directive, table or sentence.
    """
    _, sync, aio = re.split(r"^## The protocol|^## asyncio", PAGE, flags=re.MULTILINE)
    text = aio if door is coatcheck.aio.plugin else sync
    told = {name.rpartition(".")[2] for name in re.findall(r"[\w.]+", text)}

    assert set() == set(vars(door)["__all__"]) - told


@pytest.mark.parametrize("door", [coatcheck.plugin, coatcheck.aio.plugin], ids=lambda d: d.__name__)
def test_every_name_is_described(door: ModuleType) -> None:
    """
    Classes, functions and modules of the doors have docstrings, and so have their public methods.
    """
    offered = {name: getattr(door, name) for name in vars(door)["__all__"]}
    described = {
        name: thing
        for name, thing in offered.items()
        if inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing)
    }
    methods = {
        f"{name}.{attribute}": getattr(cls, attribute)
        for name, cls in described.items()
        if inspect.isclass(cls)
        for attribute in vars(cls)
        if (
            cls is coatcheck.plugin.Serializer
            or not hasattr(coatcheck.plugin.Serializer, attribute)
        )  # which describes them
        and attribute != "after_fork"
        and attribute[0] != "_"
        and inspect.isroutine(getattr(cls, attribute))
    }

    assert [] == [
        name for name, thing in (described | methods).items() if not inspect.getdoc(thing)
    ]
