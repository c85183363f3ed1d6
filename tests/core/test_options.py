"""
The table of options: the signatures, the page and the results follow it.
"""

import ast
import inspect
import typing
from datetime import timedelta
from pathlib import Path

import pytest

import coatcheck
from coatcheck import aio
from coatcheck._coding import keys
from coatcheck._coding.codec import Codec
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._finding import finder
from coatcheck._settings import options
from coatcheck._settings.options import CODEC_OPTIONS, OPTIONS, Default, Options
from coatcheck.errors import ConfigurationError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "options.md"
#: What names of types stand for where only type checkers import them.
TYPES = dict.fromkeys(("CeleryConfig", "Config"), typing.Any) | vars(options)
#: How the page writes defaults that it cannot show as they are.
WRITTEN = {
    "accept": "`json,msgpack`",
    "expires": "one day",
    "operation_timeout": "5 s",
    "protect": "all ready states",
    "safety_look": "5 s",
}


def meanings() -> dict[str, str]:
    """
    Return the text behind each option of the table.
    """
    found = {}
    tree = ast.parse(inspect.getsource(options))
    for table in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for one, other in zip(table.body, table.body[1:], strict=False):
            if isinstance(one, ast.AnnAssign) and isinstance(other, ast.Expr):
                found[one.target.id] = " ".join(ast.literal_eval(other.value).split())
    return found


@pytest.mark.parametrize("door", [coatcheck, aio], ids=["sync", "aio"])
@pytest.mark.parametrize("name", ["by_url", "by_name", "from_celery_config"])
def test_signatures_have_the_options_of_the_table(door, name):
    """
    Each function has every option, with the type of the table, and takes other options of a store.
    """
    function = getattr(door, name).__func__
    hints = typing.get_type_hints(function, vars(finder) | TYPES)
    expected = {
        option: hint | Default if hint is not None else hint
        for option, hint in typing.get_type_hints(Options).items()
    }
    parameters = inspect.signature(function).parameters

    assert expected == {option: hints[option] for option in expected}
    assert all(parameters[option].default is coatcheck.DEFAULT for option in expected)
    assert inspect.Parameter.VAR_KEYWORD is parameters["backend"].kind


def test_the_page_is_the_table():
    """
    The page has one row for each option, with its default and its meaning.
    """
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]

    assert sorted(OPTIONS) == sorted(name.strip("`") for name, _, _ in rows)
    for name, default, meaning in rows:
        option = name.strip("`")
        value = OPTIONS[option].default
        plain = str(value) if type(value) is int else f"`{str(value).lower()}`"
        plain = "none" if value in (None, ()) else plain
        assert WRITTEN.get(option, plain) == default, option
        assert meaning.startswith(meanings()[option]), option


def test_the_encoding_has_the_defaults_of_the_table():
    """
    `Codec` by itself does what it does in results without options.
    """
    parameters = inspect.signature(Codec).parameters

    assert CODEC_OPTIONS == {*parameters}
    assert {name: OPTIONS[name].default for name in parameters} == {
        name: parameter.default for name, parameter in parameters.items()
    }


def test_readers_take_what_they_return():
    """
    A value that was read from a URL is read again by `Results`, and stays.
    """
    given = {"signing_keys": {"one": "x" * keys.MIN_BYTES}, "expires": timedelta(minutes=1)}
    for name, option in OPTIONS.items():
        value = option.read(given.get(name, option.default))
        assert value == option.read(value), name


@pytest.mark.parametrize("results", [coatcheck.Results, aio.Results], ids=["sync", "aio"])
def test_results_read_their_options_by_the_table(results):
    """
    A `Results` reads text as a URL does, and refuses what the table does not have.
    """
    assert 60 == results(MemoryBackend(), expires="60").expires
    with pytest.raises(ConfigurationError, match=r"Results\(\) has no option 'exipres': did you"):
        results(MemoryBackend(), exipres=60)
    with pytest.raises(ConfigurationError, match=r"'expires' of Results\(\): use a positive"):
        results(MemoryBackend(), expires=True)
    with pytest.raises(ConfigurationError, match=r"'signing_keys' of Results\(\): no key is given"):
        results(MemoryBackend(), signing_keys={})
