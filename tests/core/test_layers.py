"""
Core is layered, and names no store outside its embedded ones.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import coatcheck

ROOT = Path(coatcheck.__file__).parent

#: The words, the packages and the doors: each imports only from those before it, and from itself.
ORDER = """
errors states
_runtime _record _coding _settings _backends _embedded _waiting _results _finding _migration _doctor
_api plugin __init__ aio testing cli __main__
""".split()

STORES = ("redis", "valkey", "mongo", "memcache", "postgres", "mysql", "rabbit", "sqlite")
#: The default of the command line, the built-in schemes, and the hints of two errors.
MAY_SAY_SQLITE = (
    "cli",
    "_settings.config",
    "_settings.configfile",
    "_settings.url",
    "_finding.registry",
)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)
        yield name, ast.parse(path.read_text(encoding="utf-8"), str(path))


SOURCES = dict(modules())
PACKAGES = {"", *(".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.rglob("*.py"))}


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """
    Walk over everything but what is for type checkers.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for other in node.orelse:
                yield other
                yield from statements(other)
        else:
            yield node
            yield from statements(node)


def imported(name: str, tree: ast.Module) -> set[str]:
    """
    Return the modules of core that *name* imports, wherever in it, without "coatcheck.".
    """
    package = name if name in PACKAGES or name == "__init__" else name.rpartition(".")[0]
    above = [] if package in {"", "__init__"} else package.split(".")
    found = set()
    for node in statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("coatcheck")}
        elif isinstance(node, ast.ImportFrom):
            start = ["coatcheck", *above[: len(above) - node.level + 1]] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            if module.partition(".")[0] == "coatcheck":
                found |= {target(module, alias.name) for alias in node.names}
    return {full.partition(".")[2] or "__init__" for full in found}


def target(module: str, name: str) -> str:
    """
    Return what "from module import name" imports: a module of that name, else *module*.
    """
    full = f"{module}.{name}"
    return full if full.partition(".")[2] in {*SOURCES, "testing"} else module


def breaches(name: str, tree: ast.Module) -> list[str]:
    """
    Return what *name* imports and may not.
    """
    own = name.partition(".")[0]
    last = ORDER.index(own)
    tops = {other: other.partition(".")[0] for other in imported(name, tree) - {name}}
    return sorted(other for other, top in tops.items() if ORDER.index(top) > last)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """
    Return modules that import one another in a circle; none if there is no circle.
    """
    left = {name: others & set(graph) - {name} for name, others in graph.items()}
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    return sorted(left)


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_imports_only_from_the_packages_before(name: str) -> None:
    """
    Each module of core imports only from its own package and earlier ones; what is for types alone is free.
    """
    assert [] == breaches(name, SOURCES[name])


def test_no_circles() -> None:
    """
    No modules import one another in a circle.
    """
    graph = {name: imported(name, tree) for name, tree in SOURCES.items()}

    assert [] == circle(graph)


def test_a_breach_is_noticed() -> None:
    """
    The tests above see imports from later packages, inside functions too, and circles.
    """
    up = "from .. import _finding\nfrom ..states import X\nfrom coatcheck._waiting.hub import Hub"
    inside = "def f():\n    from coatcheck._results.running import X\n    import coatcheck.aio"
    types = "if TYPE_CHECKING:\n    from .._finding.resolver import by_url"

    assert ["_finding", "_waiting.hub"] == breaches("_record.meta", ast.parse(up))
    assert ["_results.running", "aio"] == breaches("_waiting.hub", ast.parse(inside))
    assert [] == breaches("_record.meta", ast.parse(types))
    assert ["testing"] == breaches("_api", ast.parse("from coatcheck import testing"))
    assert ["a", "b", "c"] == circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": set()})


def docstrings(tree: ast.AST) -> set[int]:
    """
    Return the ids of the nodes that are strings standing alone: prose, not code.
    """
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def words(tree: ast.AST) -> Iterator[str]:
    """
    Return every name and string of the code, in lower case.
    """
    prose = docstrings(tree)
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "module", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value.lower()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value.lower()


def named_stores(name: str, tree: ast.AST) -> set[str]:
    allowed = {"sqlite"} if name.startswith(MAY_SAY_SQLITE) else set()
    return {store for word in words(tree) for store in STORES if store in word} - allowed


@pytest.mark.parametrize("name", [name for name in SOURCES if not name.startswith("_embedded")])
def test_core_names_no_store(name: str) -> None:
    """
    No name and no string of core's code names a store that is not embedded; prose may.
    """
    assert set() == named_stores(name, SOURCES[name])


def test_a_named_store_is_noticed() -> None:
    """
    The test above sees names, attributes, imports and strings, and passes over docstrings.
    """
    code = '"""Redis."""\nclass MongoThing: "Like MySQL."\nx.sqlite = "memcached"\nimport valkey'

    assert {"mongo", "sqlite", "memcache", "valkey"} == named_stores(
        "_waiting.hub", ast.parse(code)
    )
    assert {"mongo", "memcache", "valkey"} == named_stores("_settings.config", ast.parse(code))
