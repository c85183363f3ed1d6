"""
Core is layered, and names no store outside its embedded ones.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import coatcheck

ROOT = Path(coatcheck.__file__).parent

#: Each module imports only from lines above its own.
CORE = """
bare errors
interruptions misuse
keys
states url
meta
failures
limits stacks entrypoints compression envelope groups
jsontypes
jsontags
pickles
serializers
kombus sealing
codec
forks clocks
pacing bells portions sockets
starting
attempts lookups pool
backend
embedded.memory embedded.sqlite embedded.disabled embedded.files embedded
hooks
observed
waits
hub
handles running
writing
resultsets
results
config trust configfile celeryconfig
resolver
_api
__init__
cli
__main__
"""
#: The same for asyncio, each with the module of core that it may import up to.
AIO = """
loops:forks bells:bells alarms:pacing lookups:lookups tasks:errors
backend:backend
observed:observed
bridge:backend
hub:hub
handles:handles running:running
resultsets:resultsets
results:results
resolver:resolver
__init__:_api
"""

CORE_LINE = {name: number for number, line in enumerate(CORE.split("\n")) for name in line.split()}
AIO_LINE = {
    pair.partition(":")[0]: number
    for number, line in enumerate(AIO.split("\n"))
    for pair in line.split()
}
AIO_TWIN = dict(pair.split(":") for pair in AIO.split())

STORES = ("redis", "valkey", "mongo", "memcache", "postgres", "mysql", "rabbit", "sqlite")
#: The default of the command line, the built-in schemes, and the hints of two errors.
MAY_SAY_SQLITE = ("cli", "config", "configfile", "resolver", "url")


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


def line_of(name: str) -> int:
    return CORE_LINE[name if name in CORE_LINE else name.partition(".")[0]]


def breaches(name: str, tree: ast.Module) -> list[str]:
    """
    Return what *name* imports and may not.
    """
    top = name.partition(".")[0]
    if top == "testing":
        return []
    found = sorted(imported(name, tree) - {name})
    if top == "aio":
        own = name.partition(".")[2] or "__init__"
        limit = CORE_LINE[AIO_TWIN[own]]
        return [other for other in found if not aio_may_import(own, limit, other)]
    if top == "cli":  # the top: its own modules import one another
        return [other for other in found if other.partition(".")[0] == "testing"]
    return [
        other
        for other in found
        if other.partition(".")[0] in {"aio", "testing"} or line_of(other) >= line_of(name)
    ]


def aio_may_import(own: str, limit: int, other: str) -> bool:
    top, _, rest = other.partition(".")
    if top == "aio":
        return AIO_LINE[rest or "__init__"] < AIO_LINE[own]
    return top != "testing" and line_of(other) <= limit


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_imports_only_from_the_layers_below(name: str) -> None:
    """
    Each module of core imports only modules of earlier layers; what is for types alone is free.
    """
    assert [] == breaches(name, SOURCES[name])


def test_a_breach_is_noticed() -> None:
    """
    The test above sees imports from above, from the same line, inside functions, and by package.
    """
    up = "from . import resolver\nfrom .states import X\nfrom coatcheck.hub import Hub"
    inside = "def f():\n    from .running import X\n    import coatcheck.aio.hub"
    types = "if TYPE_CHECKING:\n    from .resolver import by_url"

    assert ["hub", "resolver"] == breaches("meta", ast.parse(up))
    assert ["aio.hub", "running"] == breaches("handles", ast.parse(inside))
    assert [] == breaches("meta", ast.parse(types))
    assert ["resolver"] == breaches("embedded.memory", ast.parse("from .. import resolver"))
    assert ["aio.results", "hub"] == breaches(
        "aio.backend", ast.parse("from .results import Results\nfrom ..hub import Hub")
    )
    assert ["testing"] == breaches("cli", ast.parse("from coatcheck import testing"))


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
    allowed = {"sqlite"} if name.partition(".")[0] in MAY_SAY_SQLITE else set()
    return {store for word in words(tree) for store in STORES if store in word} - allowed


@pytest.mark.parametrize("name", [name for name in SOURCES if not name.startswith("embedded")])
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

    assert {"mongo", "sqlite", "memcache", "valkey"} == named_stores("hub", ast.parse(code))
    assert {"mongo", "memcache", "valkey"} == named_stores("config", ast.parse(code))
