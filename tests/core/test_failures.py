"""
Failures: what is kept of an exception, and what a reader raises for it.

The 11 cases are those by which result backends can be compared: what comes back of an exception
that another process stored.
"""

import builtins
import dataclasses
import enum
import importlib.util
import json
import pickle
import subprocess
import sys
import threading
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck._coding.codec import Codec
from coatcheck._record import raising
from coatcheck._record.builtin_types import BUILTIN_TYPES
from coatcheck._record.describing import MAX_DEPTH, MAX_NODES, format_traceback
from coatcheck._record.failures import Failure
from coatcheck._record.raising import RemoteTraceback, Trusted
from coatcheck._record.texts import MAX_TEXT, safe_repr
from coatcheck._results.writing import Writer
from coatcheck.errors import ConfigurationError, TaskError, TaskRevokedError, WorkerLostError

SERIALIZERS = pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
NOTHING = Trusted()


class CodeError(ValueError):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class KeywordError(LookupError):
    def __init__(self, *, field):
        super().__init__(f"missing {field}")
        self.field = field


class Outer:
    class InnerError(ArithmeticError):
        pass


class Service:
    def __repr__(self):
        return "<Service>"


def raised(error, cause=None):
    """
    Return *error* after it was raised, so that it has a traceback.
    """
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def local_error():
    """
    Return an exception of a class that no module holds.
    """

    class LocalError(RuntimeError):
        pass

    return LocalError("here")


def with_attribute():
    """
    Return a builtin exception with an attribute of its own.
    """
    error = ValueError("x")
    error.retry_after = 30
    return error


def with_note():
    """
    Return a builtin exception with a note.
    """
    error = ValueError("x")
    error.add_note("in row 7")
    return error


def json_error():
    """
    Return what json.loads raises, whose constructor takes other arguments than its `args`.
    """
    try:
        json.loads("{")
    except ValueError as error:
        return error


LOCK = threading.Lock()
MATRIX = {
    "builtin": lambda: ValueError("x"),
    "positional init": lambda: CodeError(404, "not found"),
    "keyword-only init": lambda: KeywordError(field="name"),
    "attribute": with_attribute,
    "nested class": lambda: Outer.InnerError("x"),
    "cause": lambda: raised(ValueError("x"), KeyError("k")),
    "note": with_note,
    "group": lambda: ExceptionGroup("g", [ValueError(1), CodeError(2, "b")]),
    "lock in args": lambda: ValueError("x", LOCK),
    "JSONDecodeError": json_error,
    "local class": local_error,
}
CASES = pytest.mark.parametrize("case", MATRIX)


def stored(error, serializer="json", *, trusted=(), state="FAILURE", **options):
    """
    Return the snapshot that a reader gets of *error*, through bytes.
    """
    writer = Codec(serializer, unsafe_pickle=True, **options)
    writes = Writer(writer, expires=None, protect=["SUCCESS"], read_only=False)
    data = writer.encode(writes.record("t1", state, error, fields={"worker": "w1"}).document)
    reader = Codec(accept=["json", "msgpack", "pickle"], trusted_exceptions=trusted)
    return reader.decode("t1", data)


def read(document, **options):
    """
    Return the exception for a stored failure *document*.
    """
    return Failure.from_document(document).exception(Trusted(**options))


# -- the 11 cases ---------------------------------------------------------------------------


def kept_args(error):
    """
    Return the `args` that come back: `repr` for what no serializer keeps.
    """
    if isinstance(error, ExceptionGroup):
        return (error.args[0], repr(error.args[1]))
    return tuple(repr(arg) if arg is LOCK else arg for arg in error.args)


@SERIALIZERS
@CASES
def test_the_nearest_builtin_type_catches_it(case, serializer):
    """
    A reader without the class catches the exception by its nearest builtin type.
    """
    error = MATRIX[case]()
    builtin = next(c for c in type(error).__mro__ if c.__module__ == "builtins")

    with pytest.raises(builtin) as info:
        stored(error, serializer).get()

    assert type(error).__name__ == type(info.value).__name__
    assert (type(error) is builtin) is not isinstance(info.value, TaskError)


@SERIALIZERS
@CASES
def test_all_that_is_known_is_readable_as_data(case, serializer):
    """
    Type, bases, message, args, attributes, notes and the task are there for any reader.
    """
    error = MATRIX[case]()

    failure = stored(error, serializer).failure

    cls = type(error)
    assert f"{cls.__module__}.{cls.__qualname__}" == failure.type_name
    assert [f"{c.__module__}.{c.__qualname__}" for c in cls.__mro__[1:-1]] == [*failure.bases]
    assert failure.message in str(error)
    assert kept_args(error) == failure.args
    own = {k: v for k, v in vars(error).items() if k != "__notes__"}
    assert own == failure.attributes
    assert tuple(getattr(error, "__notes__", ())) == failure.notes
    assert failure.note.startswith("raised by task 't1' on worker w1 at ")


@SERIALIZERS
@CASES
def test_the_exception_itself_shows_it(case, serializer):
    """
    What is raised has the args, the attributes, the notes, and says which task it was.
    """
    error = MATRIX[case]()

    result = stored(error, serializer).result

    own = {k: v for k, v in vars(error).items() if k != "__notes__"}
    assert own.items() <= vars(result).items()
    assert [*getattr(error, "__notes__", ())] == result.__notes__[:-1]
    assert "task 't1'" in result.__notes__[-1]
    if not isinstance(error, ExceptionGroup):
        assert kept_args(error) == result.args
        assert (
            str(type(error)(*error.args)) == str(result)
            if result.args == error.args == ("x",) and type(result) is type(error)
            else str(error.args[0]) in str(result)
        )


@SERIALIZERS
@CASES
def test_a_reader_that_trusts_the_class_gets_it(case, serializer):
    """
    A reader that trusts the application's module gets the application's own class.
    """
    error = MATRIX[case]()

    result = stored(error, serializer, trusted=[f"{__name__}.", "json."]).result

    if case == "local class":  # it cannot be found by its name
        assert isinstance(result, TaskError)
    else:
        assert type(error) is type(result)
        own = {k: v for k, v in vars(error).items() if k != "__notes__"}
        assert own.items() <= vars(result).items()


def test_a_trusted_local_class_is_found_if_it_is_given():
    """
    A class given itself need not be found by its name.
    """
    error = local_error()

    assert type(error) is type(stored(error, trusted=[type(error)]).result)


@SERIALIZERS
def test_causes_and_contexts_are_kept(serializer):
    """
    The cause and the context are failures of their own, each with its type and args.
    """
    try:
        try:
            raise KeyError("inner")
        except KeyError:
            raise CodeError(1, "outer")  # noqa: B904
    except CodeError as error:
        context = stored(error, serializer).failure.context
    cause = stored(raised(ValueError("x"), CodeError(2, "why")), serializer).failure.cause

    assert ("builtins.KeyError", ("inner",)) == (context.type_name, context.args)
    assert (f"{__name__}.CodeError", {"code": 2}) == (cause.type_name, cause.attributes)


def test_suppressed_contexts_are_not_kept():
    """
    What `raise ... from None` hides stays hidden.
    """
    try:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None
    except ValueError as error:
        assert stored(error).failure.context is None


@SERIALIZERS
def test_groups_come_back_as_groups(serializer):
    """
    A group can be taken apart by type, members of unknown classes included, at any depth.
    """
    group = ExceptionGroup(
        "outer", [ValueError(1), ExceptionGroup("inner", [CodeError(2, "b"), OSError(2, "no")])]
    )

    result = stored(group, serializer).result

    assert ExceptionGroup is type(result)
    assert "outer" == result.message
    assert [1] == [error.args[0] for error in result.exceptions if type(error) is ValueError]
    inner = result.exceptions[1]
    assert ("inner", "CodeError", 2) == (
        inner.message, type(inner.exceptions[0]).__name__, inner.exceptions[0].code,
    )  # fmt: skip
    caught, rest = result.split(OSError)
    assert caught is not None
    assert rest is not None


class GroupError(ExceptionGroup):
    def __new__(cls, *args):
        raise RuntimeError("not to be called")


def test_own_classes_of_groups():
    """
    A subclass of a group is a group for every reader, and its own class for one that trusts it.
    """
    document = {
        "module": __name__,
        "type": "GroupError",
        "bases": ["builtins.ExceptionGroup"],
        "message": "g",
        "exceptions": [{"module": "builtins", "type": "ValueError", "args": [1]}],
    }

    untrusted = read(document)
    trusted = read(document, entries=[GroupError])

    assert isinstance(untrusted, TaskError)
    assert GroupError is type(trusted)
    for error in (untrusted, trusted):
        assert "g" == error.message
        assert "ValueError(1)" == repr(error.exceptions[0])


def test_groups_without_members_are_still_raised():
    """
    A stored group that lost its members says so.
    """
    result = read({"module": "builtins", "type": "ExceptionGroup", "message": "g"})

    assert "members unknown" in str(result.exceptions[0])


def test_base_exception_groups_are_kept():
    """
    A group that holds a KeyboardInterrupt is a TaskError, and its members are readable.
    """
    group = BaseExceptionGroup("g", [KeyboardInterrupt("stop"), ValueError(1)])

    meta = stored(group)

    assert isinstance(meta.result, TaskError)
    assert ["KeyboardInterrupt", "ValueError"] == [f.qualname for f in meta.failure.exceptions]


# -- what must not be taken for ours --------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("x"),
        ConnectionError("x"),
        ConnectionRefusedError(111, "refused"),
        BrokenPipeError(32, "pipe"),
        OSError(111, "refused"),
        OSError(110, "timed out"),
    ],
    ids=repr,
)
def test_the_stores_own_errors_cannot_be_mistaken(error):
    """
    A task's timeout or connection error is a TaskError as well, whatever the reader trusts.
    """
    for trusted in ((), ["builtins."], [type(error)]):
        result = stored(error, trusted=trusted).result

        assert isinstance(result, TaskError)
        assert isinstance(result, type(error))
        assert (error.args, error.errno, error.strerror) == (
            result.args, result.errno, result.strerror,
        )  # fmt: skip
        assert str(error) in str(result)


def test_errors_stored_by_their_base_are_recognised_by_their_number():
    """
    An OSError whose number makes it a connection error is a TaskError too.
    """
    result = read({"module": "builtins", "type": "OSError", "args": [111, "refused"]})

    assert isinstance(result, TaskError)
    assert isinstance(result, ConnectionRefusedError)
    assert 111 == result.errno


@pytest.mark.parametrize("error", [StopIteration(3), StopAsyncIteration("x")], ids=repr)
def test_the_ends_of_loops_can_leave_a_coroutine(error):
    """
    A remote StopIteration is a TaskError of its name, and no StopIteration: Python would turn
    that into a RuntimeError where it leaves a coroutine.
    """

    async def get():
        return stored(error).get()

    with pytest.raises(TaskError) as info:
        get().send(None)

    assert type(error).__name__ == type(info.value).__name__
    assert not isinstance(info.value, type(error))
    assert error.args == info.value.args


class LoopError(StopIteration):
    pass


class PatienceError(TimeoutError):
    def __init_subclass__(cls):
        raise RuntimeError("not to be called")


class Meta(type):
    def __new__(mcs, *args):
        if args[0] != "MetaTimeoutError":
            raise RuntimeError("not to be called")
        return super().__new__(mcs, *args)

    def __bool__(cls):
        raise RuntimeError("not to be called")

    def __getattribute__(cls, name):
        if Meta.armed and sys._getframe(1).f_globals["__name__"].startswith("coatcheck"):
            raise RuntimeError("not to be called")
        return super().__getattribute__(name)

    armed = False


class MetaTimeoutError(TimeoutError, metaclass=Meta):
    pass


@pytest.mark.parametrize("cls", [PatienceError, LoopError])
def test_trusted_kin_cannot_be_mistaken_either(cls):
    """
    A trusted subclass of a timeout is raised as a TaskError, without calling its hooks.
    """
    result = read({"module": __name__, "type": cls.__qualname__, "args": ["x"]}, entries=[cls])

    assert isinstance(result, TaskError)
    assert isinstance(result, TimeoutError) is issubclass(cls, TimeoutError)
    assert isinstance(result, PatienceError) is (cls is PatienceError)


def test_metaclasses_are_not_called():
    """
    Of a class with a metaclass only the builtin base is derived from, and nothing of it asked.
    """
    trusted = Trusted([f"{__name__}."])
    failure = Failure(__name__, "MetaTimeoutError", args=("x",))
    Meta.armed = True
    try:
        error = failure.exception(trusted)
    finally:
        Meta.armed = False

    assert isinstance(error, TaskError)
    assert isinstance(error, TimeoutError)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt("x"), GeneratorExit()], ids=repr
)
def test_what_ends_a_process_is_never_raised(error):
    """
    SystemExit and its kin are stored by name and raised as a TaskError, trusted or not.
    """
    for trusted in ((), ["builtins."]):
        result = stored(error, trusted=trusted).result

        assert isinstance(result, TaskError)
        assert not isinstance(result, type(error))
        assert type(error).__name__ == type(result).__name__
        assert error.args == result.args


# -- our own errors -------------------------------------------------------------------------


def test_revoked_and_lost_tasks_have_types_of_their_own():
    """
    A revoked task and a lost worker are read as ours, by our names and by Celery's.
    """
    assert TaskRevokedError is type(Failure.revoked("x").exception(NOTHING))
    assert WorkerLostError is type(Failure.worker_lost("x").exception(NOTHING))
    for name, cls in (("TaskRevokedError", TaskRevokedError), ("WorkerLostError", WorkerLostError)):
        assert cls is type(Failure("coatcheck.errors", name).exception(NOTHING))
    for failure in (Failure.revoked("x"), Failure.worker_lost("x")):
        error = failure.exception(NOTHING)
        for found in (error, pickle.loads(pickle.dumps(error))):
            assert ("x", ("x",)) == (str(found), found.args)
            assert "x" == found.failure.message


def test_text_of_an_unlisted_class():
    """
    A class that is not trusted has the text and the arguments of the original, as Celery's has.
    """
    for args, text in ((("no", 3), "('no', 3)"), (("no",), "no"), ((), "")):
        stored = {"exc_type": "Refused", "exc_message": list(args), "exc_module": "app"}
        error = Failure.from_celery(stored).exception(NOTHING)

        assert ("Refused", text, args) == (type(error).__name__, str(error), error.args)


def test_wrap_makes_a_plain_task_error():
    """
    With `wrap` the original is data only, whatever it was.
    """
    for error in (ValueError("x"), CodeError(1, "x"), TimeoutError()):
        with pytest.raises(TaskError) as info:
            stored(error, trusted=[CodeError]).get(wrap=True)
        assert TaskError is type(info.value)
        assert type(error).__qualname__ == info.value.failure.qualname
    with pytest.raises(TaskRevokedError):
        stored("revoked", state="REVOKED").get(wrap=True)


def test_task_errors_of_task_errors():
    """
    A TaskError that another task raised keeps the first one's type, and not its data twice.
    """
    first = stored(CodeError(5, "first")).result

    meta = stored(first)

    assert "CodeError" == type(meta.result).__name__
    assert {"code": 5} == meta.failure.attributes


def test_the_remote_traceback_is_the_cause():
    """
    The traceback of the other process is chained, as text, and shows below ours.
    """
    result = stored(raised(ValueError("x"))).result

    assert isinstance(result.__cause__, RemoteTraceback)
    assert "in raised" in str(result.__cause__)
    assert "Traceback (most recent call last)" in format_traceback(raised(result))


def test_exceptions_that_were_never_raised_have_no_traceback():
    """
    Without a traceback there is no cause to chain.
    """
    meta = stored(ValueError("x"))

    assert (None, None) == (meta.traceback, meta.result.__cause__)


# -- broken and hostile exceptions, on the way in -------------------------------------------


class BrokenTextError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenStateError(OSError):
    @property
    def errno(self):
        raise RuntimeError("no number")

    @property
    def args(self):
        raise RuntimeError("no args")

    @property
    def __dict__(self):
        raise RuntimeError("no dict")

    def __getattribute__(self, name):
        if name in ("__notes__", "__cause__", "__context__"):
            raise RuntimeError("nothing")
        return super().__getattribute__(name)


class NotTextError(Exception):
    def __str__(self):
        return 5


class SafeString(str):
    __slots__ = ()

    def __str__(self):
        return self


@SERIALIZERS
def test_broken_exceptions_are_still_stored(serializer):
    """
    An exception whose own methods fail is stored by what can be had of it.
    """
    assert (
        "<BrokenTextError: str() failed>" == stored(BrokenTextError(1), serializer).failure.message
    )
    assert "<NotTextError: str() failed>" == stored(NotTextError(), serializer).failure.message
    broken = Failure.of(BrokenStateError(5, "x"))
    assert ((5, "x"), 5) == (broken.args, broken.attributes["errno"])


@SERIALIZERS
def test_messages_of_subclasses_of_text_are_stored(serializer):
    """
    A message, a note or an attribute's name that is a subclass of text is stored as text.
    """
    error = ValueError(SafeString("safe"))
    error.__notes__ = [SafeString("note"), 5]

    failure = stored(error, serializer).failure

    assert ("safe", ("note", "5")) == (failure.message, failure.notes)


@SERIALIZERS
def test_lone_surrogates_are_escaped(serializer):
    """
    A message with a file name that is not UTF-8 is stored by every serializer.
    """
    error = raised(FileNotFoundError(2, "No such file", "\udcff.txt"))
    error.add_note("\udcff")
    vars(error)["\udcff"] = 1

    meta = stored(error, serializer)

    assert r"'\udcff.txt'" in meta.failure.message
    assert (r"\udcff",) == meta.failure.notes
    assert 1 == meta.failure.attributes[r"\udcff"]
    assert isinstance(meta.result, FileNotFoundError)


@SERIALIZERS
def test_cycles_end(serializer):
    """
    Causes, contexts and arguments that lead back are stored once.
    """
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    one.args = ("one", one)
    one.me = one

    failure = stored(one, serializer).failure

    assert "builtins.KeyError" == failure.cause.type_name
    assert failure.cause.cause is None
    assert all(isinstance(value, str) for value in (failure.args[1], failure.attributes["me"]))


def depth(failure):
    """
    Return how many causes *failure* has.
    """
    return 0 if failure.cause is None else 1 + depth(failure.cause)


@SERIALIZERS
def test_deep_causes_are_bounded(serializer):
    """
    Of thousands of causes the first are kept, and the traceback's middle is left out.
    """
    error = None
    for number in range(3000):
        error = raised(ValueError(number), error)

    meta = stored(error, serializer)

    assert MAX_DEPTH == depth(meta.failure)
    assert (2999,) == meta.result.args
    assert "characters left out" in meta.traceback


def test_wide_groups_are_bounded():
    """
    Of thousands of members the first are kept.
    """
    group = ExceptionGroup("g", [ValueError(number) for number in range(3000)])

    meta = stored(group)

    assert MAX_NODES - 1 == len(meta.failure.exceptions)
    assert MAX_NODES - 1 == len(meta.result.exceptions)


def test_deep_groups_are_bounded():
    """
    Of groups nested thousands deep the outer ones are kept.
    """
    group = ExceptionGroup("g", [ValueError("x")])
    for _ in range(2000):
        group = ExceptionGroup("g", [group])

    assert isinstance(stored(group).result, ExceptionGroup)


def test_what_python_cannot_print_is_stored():
    """
    An exception whose traceback cannot be made is stored without.
    """
    meta = stored(raised(SyntaxError("m", ("f", 1, 2, 5))))

    assert meta.traceback.startswith("Traceback (most recent call last):")
    assert meta.traceback.endswith("SyntaxError: m (f, line 1)\n")
    assert SyntaxError is type(meta.result)


@SERIALIZERS
def test_huge_messages_are_bounded(serializer):
    """
    The middle of a huge message is left out, and its length is said.
    """
    meta = stored(ValueError("a" * 10**6 + "z", Service()), serializer)

    assert len(meta.failure.message) < MAX_TEXT + 100
    assert "900" in meta.failure.message
    assert "<Service>" == meta.failure.args[1]


def test_reprs_are_bounded_and_never_fail():
    """
    What stands for a value that cannot be kept is short, whatever its repr does.
    """
    assert len(safe_repr([*range(10**5)])) < 2100
    assert "<BrokenTextError: repr() failed>" == safe_repr(BrokenTextError())


def test_names_that_no_source_could_have():
    """
    Class names with NULs or surrogates are stored and read back.
    """
    cls = type("A", (ValueError,), {"__qualname__": "a\x00b.\udcff", "__module__": None})

    meta = stored(cls("x"))

    assert r"a" + "\x00" + r"b.\udcff" == meta.failure.qualname
    assert isinstance(meta.result, ValueError)
    assert "TaskError" == type(meta.result).__name__


class Level(enum.IntEnum):
    LOW = 1


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_what_the_serializer_would_change_is_kept_as_repr(serializer):
    """
    An argument that would come back as another type is kept as its repr.
    """
    failure = stored(ValueError(Level.LOW, {1: object}, b"\xff"), serializer).failure

    assert (repr(Level.LOW), repr({1: object}), b"\xff") == failure.args


def test_builtin_attributes_come_back():
    """
    What builtin exceptions keep outside of their `__dict__` is kept too.
    """
    errors = [
        (OSError(2, "No such file", "a", None, "b"), ("errno", "strerror", "filename", "filename2")),
        (ImportError("x", name="n", path="p"), ("name", "path", "msg")),
        (AttributeError("x", name="n"), ("name",)),
        (NameError("x", name="n"), ("name",)),
        (SyntaxError("x", ("f", 1, 2, "text", 3, 4)), ("filename", "lineno", "text", "end_offset")),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ("encoding", "object", "start", "reason")),
        (ModuleNotFoundError("x", name="n"), ("name",)),
    ]  # fmt: skip
    for error, names in errors:
        result = stored(error).result

        assert type(error) is type(result)
        assert str(error) == str(result)
        for name in names:
            assert getattr(error, name) == getattr(result, name)


# -- hostile records, on the way out --------------------------------------------------------


def test_decoding_errors_cannot_crash_the_reader():
    """
    A stored UnicodeDecodeError with positions outside of its object does not read there.
    """
    code = (
        "from coatcheck._record.failures import Failure, Trusted\n"
        "for name in ('UnicodeDecodeError', 'UnicodeEncodeError'):\n"
        "    data = b'x' if name == 'UnicodeDecodeError' else 'x'\n"
        "    for start in (-(10**9), 10**9, -1):\n"
        "        failure = Failure('builtins', name, args=('utf-8', data, start, start + 1, 'r'))\n"
        "        error = failure.exception(Trusted())\n"
        "        print(type(error).__name__, str(error), error.args[2])\n"
    )

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stderr)
    assert 6 == len(done.stdout.splitlines())


WITNESS: list[str] = []


class Sealed(Exception):
    """
    An application's exception that leaves a trace whenever any of its code runs.
    """

    def __new__(cls, *args):
        WITNESS.append("__new__")
        return super().__new__(cls)

    def __init__(self, *args):
        WITNESS.append("__init__")

    def __setattr__(self, name, value):
        WITNESS.append("__setattr__")

    def __getattribute__(self, name):
        WITNESS.append("__getattribute__")
        return super().__getattribute__(name)

    def __init_subclass__(cls):
        WITNESS.append("__init_subclass__")

    def __class_getitem__(cls, item):
        WITNESS.append("__class_getitem__")

    def add_note(self, note):
        WITNESS.append("add_note")

    @property
    def danger(self):
        WITNESS.append("get")

    @danger.setter
    def danger(self, value):
        WITNESS.append("set")


class SealedTimeout(Sealed, TimeoutError):
    pass


@pytest.mark.parametrize("cls", [Sealed, SealedTimeout])
def test_no_code_of_a_trusted_class_runs(cls):
    """
    A trusted class is made without its constructor, its descriptors and its hooks.
    """
    trusted = Trusted([f"{__name__}."])
    failure = Failure(
        __name__,
        cls.__qualname__,
        args=("x",),
        attributes={"danger": 1, "__class__": 2, "__dict__": {}, "free": 3, "args": "no"},
        notes=["n"],
        traceback="tb",
    )
    WITNESS.clear()

    error = failure.exception(trusted)

    assert [] == WITNESS
    assert issubclass(type(error), cls)
    state = BaseException.__dict__["__dict__"].__get__(error)
    assert {"danger": 1, "free": 3, "args": "no", "__notes__": ["n"]}.items() <= state.items()
    assert not {"__class__", "__dict__"} & state.keys()
    assert ("x",) == BaseException.__dict__["args"].__get__(error)


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int


def test_frozen_exceptions_can_be_trusted():
    """
    An exception that cannot be changed is made all the same.
    """
    result = stored(raised(FrozenError(5)), trusted=[FrozenError]).result

    assert FrozenError is type(result)
    assert 5 == result.code


class Cancelled(KeyboardInterrupt, ValueError):
    pass


def test_classes_that_are_also_exceptions():
    """
    A trusted class that derives from Exception in the second place only can be made.
    """
    result = stored(Cancelled("x"), trusted=[Cancelled]).result

    assert Cancelled is type(result)
    assert ("x",) == result.args


def test_classes_that_only_their_constructor_can_make(monkeypatch):
    """
    A trusted type in C that cannot be made without its constructor is a TaskError instead.
    """

    class Native(OSError):
        pass

    # There is none in the standard library: a wrong layout fails in the same way.
    monkeypatch.setattr(raising, "layout_of", lambda cls: KeyError if cls is Native else OSError)

    result = stored(Native("x"), trusted=[Native]).result

    assert isinstance(result, TaskError)
    assert isinstance(result, OSError)


def lazy_module(name, monkeypatch):
    """
    Return a module that is loaded by the first look at it.
    """
    source = types.SimpleNamespace(loaded=[])

    class Loader:
        def create_module(self, spec):
            return None

        def exec_module(self, module):
            source.loaded.append(module.__name__)

    spec = importlib.util.spec_from_loader(name, importlib.util.LazyLoader(Loader()))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return source


def test_nothing_is_imported_because_a_record_names_it(monkeypatch):
    """
    A module that is not imported stays so, and a lazy one is not loaded.
    """
    source = lazy_module("lazy_application", monkeypatch)
    trusted = Trusted(["lazy_application.", "antigravity.", "this."])

    for module in ("lazy_application", "antigravity", "this", "a\x00b", "\udcff", ""):
        assert trusted.find(module, "Error") is None

    assert [] == source.loaded
    assert not {"antigravity", "this"} & sys.modules.keys()


class Proxy:
    """
    Pretends to be a class, as proxies of web frameworks pretend to be what they stand for.
    """

    @property
    def __class__(self):
        raise RuntimeError("not to be called")


def test_nothing_is_called_because_a_record_names_it(monkeypatch):
    """
    Module-level `__getattr__`, functions, proxies and descriptors are not called.
    """

    def refuse(*args):
        raise RuntimeError("not to be called")

    class Holder:
        descriptor = property(refuse)

        def __getattr__(self, name):
            return refuse()

    module = types.ModuleType("application")
    vars(module).update(
        __getattr__=refuse, call=refuse, proxy=Proxy(), Holder=Holder, holder=Holder(), none=None
    )
    monkeypatch.setitem(sys.modules, "application", module)
    monkeypatch.setitem(sys.modules, "odd", Holder())
    trusted = Trusted(["application.", "odd."])

    for name in ("Absent", "call", "proxy", "proxy.x", "Holder", "Holder.descriptor", "holder.x"):
        assert trusted.find("application", name) is None
    for name in ("none", "none.x", "", ".", "Holder.", "__class__", "call.__globals__"):
        assert trusted.find("application", name) is None
    assert trusted.find("odd", "Error") is None


def test_a_prefix_reaches_only_the_classes_of_its_modules(monkeypatch):
    """
    What a trusted module imported from elsewhere is not trusted.
    """
    own = type("OwnError", (Exception,), {"__module__": "myapp.tasks"})
    module = types.ModuleType("myapp.tasks")
    module.OwnError = own
    module.CalledProcessError = subprocess.CalledProcessError
    module.Exit = SystemExit
    monkeypatch.setitem(sys.modules, "myapp.tasks", module)
    trusted = Trusted(["myapp."])

    assert own is trusted.find("myapp.tasks", "OwnError")
    assert trusted.find("myapp.tasks", "CalledProcessError") is None
    assert trusted.find("myapp.tasks", "Exit") is None
    assert trusted.find("subprocess", "CalledProcessError") is None
    assert trusted.find("myapplication", "OwnError") is None
    assert trusted.find("myapp", "tasks.OwnError") is None


def test_single_names_can_be_trusted():
    """
    A full name trusts that class alone.
    """
    trusted = Trusted(f"{__name__}.CodeError")

    assert CodeError is trusted.find(__name__, "CodeError")
    assert trusted.find(__name__, "KeywordError") is None
    assert Outer.InnerError is Trusted([Outer.InnerError]).find(__name__, "Outer.InnerError")


@pytest.mark.parametrize("entry", [SystemExit, dict, 5, None, ValueError("x")], ids=repr)
def test_only_exception_classes_can_be_trusted(entry):
    """
    What is no subclass of Exception is refused when the reader is made.
    """
    with pytest.raises(ConfigurationError, match="trusted_exceptions= cannot hold"):
        Codec(trusted_exceptions=[entry])


def test_one_class_need_not_be_a_list():
    """
    A single class or name is a list of one.
    """
    assert CodeError is Trusted(CodeError).find(__name__, "CodeError")


@pytest.mark.parametrize("name", ["eval", "exec", "int", "SystemExit", "object", "type", "open"])
def test_other_builtins_are_only_names(name):
    """
    A stored name of a builtin that is no exception is just a name.
    """
    result = read({"module": "builtins", "type": name, "args": ["1"]}, entries=["builtins."])

    assert isinstance(result, TaskError)
    assert Exception is Failure("builtins", name).nearest_builtin


def test_the_table_of_builtins_is_fixed():
    """
    Only subclasses of Exception are made by name, under their own names.
    """
    for name, cls in BUILTIN_TYPES.items():
        assert getattr(builtins, name) is cls
        assert issubclass(cls, Exception)
    assert not {"SystemExit", "KeyboardInterrupt", "IOError"} & BUILTIN_TYPES.keys()


@pytest.mark.parametrize("name", sorted(BUILTIN_TYPES))
@pytest.mark.parametrize("args", [[], ["x"], [1, 2, 3, 4, 5, 6], [[["x"]]], [None], [{"a": 1}]])
def test_every_builtin_type_is_made_of_any_args(name, args):
    """
    Arguments of the wrong shape keep the type and the arguments.
    """
    failure = Failure("builtins", name, args=args, message="m")

    error = failure.exception(NOTHING)

    assert name in (type(error).__name__, "OSError")
    assert isinstance(str(error), str)
    if not isinstance(error, ExceptionGroup):
        assert tuple(args)[:2] == error.args[:2] or name == "OSError"


@pytest.mark.parametrize("name", ["errno", "strerror", "filename"])
def test_attributes_of_the_wrong_type_are_left_out(name):
    """
    A stored attribute that the builtin type refuses does not keep it from being made.
    """
    failure = Failure("builtins", "StopIteration", attributes={"value": 1})
    assert "StopIteration" == type(failure.exception(NOTHING)).__name__
    error = Failure(
        "builtins", "UnicodeDecodeError", message="m", args=["x"], attributes={name: object()}
    ).exception(NOTHING)
    assert isinstance(error, UnicodeDecodeError)
    assert "m" == str(error)


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None)) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *["module", "type", "message", "args", "bases", "attributes", "notes", "cause"],
                    *["context", "exceptions", "exc_type", "exc_message", "exc_module", "errno", 1],
                    *["name", "lineno", "text", "filename"],
                ]
            ),
            inner
            | st.sampled_from(
                ["builtins", "OSError", "SyntaxError", "ExceptionGroup", "UnicodeError"]
            )
            | st.sampled_from(["builtins.TimeoutError", "KeyError", "celery.exceptions", "Retry"]),
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(DATA)
def test_any_data_makes_an_exception(data):
    """
    Whatever a record says of a failure, an exception is made, printed and pickled.
    """
    for failure in (Failure.from_document(data), Failure.from_celery(data)):
        error = failure.exception(NOTHING)
        assert isinstance(error, Exception)
        assert isinstance(str(error), str)
        assert isinstance(repr(failure), str)
        assert type(error).__name__ == type(pickle.loads(pickle.dumps(error))).__name__


def test_documents_that_are_no_documents():
    """
    What stands in place of a failure is its message.
    """
    assert (TaskError, "5") == (type(read(5)), read(5).failure.message)
    assert (TaskError, "no") == (type(read("no")), read("no").failure.message)
    nested: dict = {}
    for _ in range(2 * MAX_DEPTH):
        nested = {"type": "E", "cause": nested}
    assert MAX_DEPTH + 1 == depth(Failure.from_document(nested))


def test_a_failure_without_a_name():
    """
    A failure that does not say its type is a TaskError.
    """
    failure = Failure.from_document({"message": "m", "args": ["m"]})

    assert "TaskError" == failure.type_name
    assert TaskError is type(failure.exception(NOTHING))
    assert "m" in str(failure.exception(NOTHING))


# -- Celery's form --------------------------------------------------------------------------


def celery(result):
    """
    Return the exception for the `result` of Celery's record.
    """
    return Failure.from_celery(result).exception(NOTHING)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"exc_type": "ValueError", "exc_message": ["x", 1], "exc_module": "builtins"}, "ValueError('x', 1)"),
        ({"exc_type": "ValueError", "exc_message": "x", "exc_module": "builtins"}, "ValueError('x')"),
        ({"exc_type": "ValueError", "exc_message": {"a": 1}, "exc_module": "builtins"}, "ValueError({'a': 1})"),
        ({"exc_type": "ValueError", "exc_message": [], "exc_module": "builtins"}, "ValueError()"),
        ({"exc_type": "ValueError", "exc_module": "builtins"}, "ValueError('')"),
        ({"exc_type": "KeyError", "exc_message": ["k"], "exc_module": "builtins"}, "KeyError('k')"),
        (ValueError("x"), "ValueError('x')"),
    ],
    ids=repr,
)  # fmt: skip
def test_celerys_failures_are_read(result, expected):
    """
    What Celery stores, or anybody in its place, becomes an exception, where Celery's own reader
    often raises another one.
    """
    assert expected == repr(celery(result))


@pytest.mark.parametrize("result", ["text", 5, None, {}, {"exc_message": ["x"]}, [1]], ids=repr)
def test_what_is_no_failure_of_celerys_is_a_task_error(result):
    """
    Without a type nothing is known of the exception but that the task failed.
    """
    error = celery(result)

    assert TaskError is type(error)
    assert ("" if result is None else str(result)) == error.failure.message


def test_celerys_unknown_classes_are_task_errors():
    """
    A class that is not builtin is a TaskError of its name.
    """
    error = celery({"exc_type": "A.B", "exc_message": ["x"], "exc_module": "gone"})

    assert isinstance(error, TaskError)
    assert ("B", "A.B", "gone") == (
        type(error).__name__, type(error).__qualname__, type(error).__module__,
    )  # fmt: skip
    assert ("x",) == error.args


@pytest.mark.parametrize("module", [None, "", 0])
def test_celerys_failures_without_a_module(module):
    """
    A type without a module is nobody's, not even a builtin's.
    """
    error = celery({"exc_type": "ValueError", "exc_message": ["x"], "exc_module": module})

    assert isinstance(error, TaskError)
    assert not isinstance(error, ValueError)
    assert "x" == str(error)


@pytest.mark.parametrize(
    ("args", "name", "text"),
    [
        (["app", "Gone", ["a", 1], "Gone('a', 1)"], "app.Gone", "app.Gone: Gone('a', 1)"),
        (["app", "Gone"], "app.Gone", "app.Gone"),
        ([], "", ""),
    ],
)
def test_celerys_wrapper_is_opened(args, name, text):
    """
    What Celery's worker wraps because it cannot pickle it is read under its own name.
    """
    failure = Failure.from_celery(
        {
            "exc_type": "UnpickleableExceptionWrapper",
            "exc_message": args,
            "exc_module": "celery.utils.serialization",
        }
    )

    assert (name, text) == (failure.type_name, failure.summary)
    assert isinstance(failure.exception(NOTHING), TaskError)


def test_celery_reads_what_we_store():
    """
    The `result` of our failures is the dict that Celery's reader expects.
    """
    meta = stored(CodeError(1, "m"))

    assert {"exc_type": "CodeError", "exc_message": ["m"], "exc_module": __name__} == meta.document[
        "result"
    ]
