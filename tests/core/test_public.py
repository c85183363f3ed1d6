"""
The one door: what `import coatcheck` offers, and what it costs.
"""

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import coatcheck
import coatcheck.aio
from coatcheck import errors

#: No timing is asserted here: tests/bench has it.
HEAVY = (
    "asyncio",
    "click",
    "importlib.metadata",
    "importlib_metadata",
    "pluggy",
    "redis",
    "rich",
    "sqlite3",
)
DOORS = [coatcheck, coatcheck.aio]


def kind(name: str) -> tuple[int, str]:
    """
    Sort as ruff does: constants, classes, functions.
    """
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def fresh(code: str) -> Any:
    """
    Return what *code* prints as JSON, run in a Python that has nothing imported but itself.
    """
    # -S: what .pth files import, for coverage or by other packages, is not ours.
    start = f"import sys; sys.path[:0] = {[str(Path(coatcheck.__file__).parents[1])]!r}; "
    command = [sys.executable, "-I", "-S", "-c", start + code]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("door", DOORS)
def test_public_names_exist_and_are_sorted(door: types.ModuleType) -> None:
    """
    Every name of `__all__` can be had, stands there once, and stands where one looks for it.
    """
    assert sorted(set(door.__all__), key=kind) == list(door.__all__)
    assert [] == [name for name in door.__all__ if getattr(door, name, None) is None]


def test_every_error_is_public() -> None:
    """
    Every class of errors.py can be imported from coatcheck.
    """
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }

    assert set() == {name for name in classes if not name.startswith("_")} - set(coatcheck.__all__)
    assert all(issubclass(getattr(errors, name), coatcheck.CoatcheckError) for name in classes)


def test_dir_is_what_is_public() -> None:
    """
    `dir(coatcheck)` shows the public names and `aio`, at once and after all were used; of the
    rest, only the modules that Python itself hangs there.
    """
    code = """
import json, types, coatcheck
def seen():
    return [name for name in dir(coatcheck) if not name.startswith("_")
            and not isinstance(vars(coatcheck).get(name), types.ModuleType)]
before = seen()
everything = [getattr(coatcheck, name) for name in coatcheck.__all__]
print(json.dumps([before, seen(), "__version__" in dir(coatcheck)]))
"""
    before, after, version = fresh(code)
    public = {*coatcheck.__all__, "aio"}

    assert public == {*before}
    assert public - {"aio"} == {*after} - {"aio"}
    assert version


def test_unknown_names_are_attribute_errors() -> None:
    """
    What is not public is no attribute, and the message names it.
    """
    with pytest.raises(AttributeError, match="'coatcheck' has no attribute 'results_backend'"):
        _ = coatcheck.results_backend


def test_aio_is_an_attribute() -> None:
    """
    `coatcheck.aio` needs no import of its own.
    """
    code = "import json, coatcheck; print(json.dumps(coatcheck.aio.__name__))"

    assert "coatcheck.aio" == fresh(code)


def test_importing_costs_nothing() -> None:
    """
    `import coatcheck` imports no driver, no plugin and nothing of the standard library that is
    slow, and of coatcheck itself nothing but the door.
    """
    code = "import json, coatcheck; print(json.dumps(sorted(sys.modules)))"
    modules = fresh(code)

    assert set() == {*HEAVY} & {*modules}
    assert ["coatcheck"] == [name for name in modules if name.partition(".")[0] == "coatcheck"]


def test_embedded_backends_scan_nothing() -> None:
    """
    An embedded scheme is found without a look at what is installed, and without asyncio.
    """
    code = "import json, coatcheck; coatcheck.by_url('memory://'); print(json.dumps(sorted(sys.modules)))"
    modules = fresh(code)

    assert set() == {*HEAVY} & {*modules}


def test_all_public_names_are_documented() -> None:
    """
    The reference has every public name; run where there is a checkout.
    """
    reference = Path(__file__).parents[2] / "docs" / "reference"
    pages = [reference / "api.md", reference / "errors.md"]
    if not all(page.is_file() for page in pages):
        pytest.skip("the documentation is not here")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    lines = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", text, re.MULTILINE))

    names = {f"{door.__name__}.{name}" for door in DOORS for name in door.__all__}
    assert set() == names - lines


@pytest.mark.parametrize("door", DOORS)
def test_completion_offers_public_names(door: types.ModuleType) -> None:
    """
    `dir()` of what a user holds shows what the documentation has, and nothing that is private.
    """
    results = door.by_url("memory://")
    handle, task = results.AsyncResult("t"), results.running("t")
    held = [results, handle, results.ResultSet(["t"]), task]
    if door is coatcheck:
        held.append(handle.meta())

    assert [] == [name for thing in held for name in dir(thing) if name[0] == "_" != name[1]]
    assert {
        "check",
        "emit",
        "note",
        "progress",
        "result",
        "retry",
        "task_id",
        "update_state",
        "won",
    } == {name for name in dir(task) if not name.startswith("_")}
