"""
Pickles that name what is not installed here.
"""

import pickle
import sys
import types
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from coatcheck import TaskError, states
from coatcheck._coding.codec import Codec
from coatcheck._record.failures import Failure
from coatcheck.errors import DecodeError

READER = Codec(accept=["pickle"])
DONE = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def elsewhere(monkeypatch):
    """A module of the writer's, which the reader does not have."""
    module = types.ModuleType("elsewhere")
    code = """
class Broken(ValueError):
    def __init__(self, code, *, hint):
        super().__init__(code)
        self.hint = hint
    def __reduce__(self):
        return _rebuilt, (self.args[0], self.hint)
class Told(Exception): pass
class Thing:
    def __init__(self): self.x = 1
class Slotted:
    __slots__ = ("x",)
    def __init__(self): self.x = 1
class Outer:
    class Inner(Exception): pass
class Listed(list): pass
def _rebuilt(code, hint): return Broken(code, hint=hint)
"""
    exec(code, vars(module))
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    return module


def read(status, result, **fields):
    """Return what is read where the module is not."""
    document = {"status": status, "result": result, "traceback": "Traceback text"}
    data = pickle.dumps({**document, "date_done": DONE.isoformat(), **fields})
    del sys.modules["elsewhere"]
    return READER.decode("t", data)


def test_a_failure_is_read(elsewhere):
    """A failed task's exception is raised under its own name, with all that the pickle says."""
    error = elsewhere.Told("a", 2)
    error.code = 5
    meta = read(states.FAILURE, error, children=[(("c", None), None)])

    assert (DONE, [(("c", None), None)]) == (meta.date_done, meta.children)
    assert ("elsewhere", "Told", ("a", 2)) == (
        meta.failure.module, meta.failure.qualname, meta.failure.args
    )  # fmt: skip
    assert {"code": 5} == meta.failure.attributes
    assert "Traceback text" == meta.failure.traceback
    with pytest.raises(TaskError, match=r"^\('a', 2\)") as caught:
        meta.get()
    assert "Told" == type(caught.value).__name__


def test_a_nested_class(elsewhere):
    """A class within a class keeps its name."""
    assert "Outer.Inner" == read(states.FAILURE, elsewhere.Outer.Inner("x")).failure.qualname


def test_a_failure_made_by_a_function(elsewhere):
    """Where the pickle calls a function that is not here, the failure has the function's name."""
    failure = read(states.FAILURE, elsewhere.Broken("c", hint="h")).failure

    assert ("_rebuilt", ("c", "h")) == (failure.qualname, failure.args)


def test_a_group_of_failures(elsewhere):
    """Members of a group are read as well."""
    group = ExceptionGroup("eg", [elsewhere.Told("a"), ValueError("b")])

    assert ["Told", "ValueError"] == [
        member.qualname for member in read(states.FAILURE, group).failure.exceptions
    ]


def test_an_argument_of_a_failure(elsewhere):
    """An argument of a class that is not here does not hide the failure."""
    failure = read(states.FAILURE, ValueError("has", elsewhere.Thing())).failure

    assert ("ValueError", "has") == (failure.qualname, failure.args[0])


@pytest.mark.parametrize("make", ["Thing", "Slotted", "Told"])
@pytest.mark.parametrize("place", [lambda x: x, lambda x: [1, {"k": (x,)}], lambda x: {x}])
def test_a_value_is_not_read(elsewhere, make, place):
    """A value that needs the class raises, and names it; state and dates are there."""
    meta = read(states.SUCCESS, place(getattr(elsewhere, make)()))

    assert (states.SUCCESS, DONE) == (meta.status, meta.date_done)
    with pytest.raises(DecodeError, match=f"elsewhere.{make} cannot be imported here"):
        _ = meta.result


def test_a_value_inside_of_something_else(elsewhere):
    """What may hide in an object that is here is not handed out either."""
    meta = read(states.SUCCESS, types.SimpleNamespace(thing=elsewhere.Thing()))

    with pytest.raises(DecodeError, match="something in it cannot be imported here"):
        _ = meta.result


def test_what_cannot_be_stood_in_for(elsewhere):
    """A class of which only a list can be made leaves no more than the state."""
    meta = read(states.SUCCESS, elsewhere.Listed([1]))

    assert states.SUCCESS == meta.status
    assert isinstance(meta.error, DecodeError)


def test_other_fields_are_read(elsewhere):
    """The value is one thing, the arguments are another."""
    meta = read(states.SUCCESS, elsewhere.Thing(), args=(Decimal(1), {2}), kwargs={"k": DONE})

    assert ((Decimal(1), {2}), {"k": DONE}) == (meta.args, meta.kwargs)
    assert (Decimal(1), {2}) == meta.values()["args"]


def test_nothing_is_missing():
    """Where all is here, values are what they were, of whatever class."""
    value = {"x": types.SimpleNamespace(a=1), "y": {1, (2,)}}

    assert value == READER.decode("t", pickle.dumps({"status": "SUCCESS", "result": value})).result


def test_celerys_wrapper(monkeypatch):
    """The wrapper of Celery's worker means the exception in it, here and where it is installed."""
    name = "celery.utils.serialization"
    module = types.ModuleType(name)
    wrapper = type("UnpickleableExceptionWrapper", (Exception,), {"__module__": name})
    module.UnpickleableExceptionWrapper = wrapper
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "celery", types.ModuleType("celery"))
    monkeypatch.setitem(sys.modules, "celery.utils", types.ModuleType("celery.utils"))
    error = wrapper("app", "Gone", ("a", 1), "Gone('a', 1)")
    data = pickle.dumps({"status": "FAILURE", "result": error})

    for here in (True, False):
        if not here:
            monkeypatch.setitem(sys.modules, name, None)
        failure = READER.decode("t", data).failure
        assert ("app", "Gone", ("a", 1)) == (failure.module, failure.qualname, failure.args)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            [["exc_type", "KeyError"], ["exc_message", ["k"]], ["exc_module", "builtins"]],
            "KeyError",
        ),
        ([["k", 1]], "TaskError"),
        (["text"], "TaskError"),
        ([[[], 1]], "TaskError"),
    ],
)
def test_a_failure_as_pairs(result, expected):
    """What makes a dict is taken for one, as by Celery's reader; anything else is text."""
    assert expected == Failure.from_celery(result).qualname


def test_a_group_that_is_not_pickled():
    """Of a group of exceptions Celery keeps the message, and the members as text."""
    stored = {"exc_type": "ExceptionGroup", "exc_message": ["eg", "[ValueError(1)]"]}
    failure = Failure.from_celery({**stored, "exc_module": "builtins"})

    assert ("eg", ("eg", "[ValueError(1)]")) == (failure.message, failure.args)
