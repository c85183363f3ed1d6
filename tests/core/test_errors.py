"""
The errors: what each says, what else it can be caught as, and its way through a process pool.
"""

import copy
import pickle

import pytest

from coatcheck import errors
from coatcheck._coding.codec import Codec
from coatcheck._record.failures import Failure
from coatcheck._record.raising import Trusted

FAILURE = Failure("myapp.errors", "Broken", message="no", args=("no",), bases=["builtins.OSError"])

EXAMPLES = [
    errors.CoatcheckError("x"),
    errors.ArgumentError("a task id", "", "use text"),
    errors.ConfigurationError("x"),
    errors.UnknownSchemeError(
        "redsi", installed={"memory"}, near="redis", install="coatcheck[redis]"
    ),
    errors.SchemeConflictError("redis", ["two 2.0", "one 1.0"]),
    errors.PluginError("x"),
    errors.BackendError("x"),
    errors.BackendUnavailableError("x"),
    errors.PartlyUnavailableError("x", found={"a": 1}, unread={"b"}),
    errors.ThreadStartError("hub", "no more"),
    errors.BackendStoreError("x"),
    errors.BackendGetMetaError("x"),
    errors.ResultTooLargeError("t", size=2, limit=1),
    errors.UnsupportedError("x"),
    errors.SerializationError("x"),
    errors.EncodeError("json", "result['a']", "object: no tag"),
    errors.DecodeError("t", "damaged"),
    errors.ContentDisallowed("t", "pickle", ["json", "msgpack"]),
    errors.SignatureError("x", "x"),
    errors.WaitTimeoutError({"a", "b"}, 1.5, errors.BackendError("away")),
    errors.UnknownTaskError("t"),
    errors.OnceConflictError("k"),
    errors.ResultTypeError("t", "result.x", "it is None, not int"),
    errors.TaskError(FAILURE),
    errors.TaskRevokedError(Failure.revoked("revoked")),
    errors.WorkerLostError(Failure.worker_lost("gone")),
]


def error_types(cls=errors.CoatcheckError):
    """
    Return *cls* and all its subclasses in the module.
    """
    subclasses = [c for c in cls.__subclasses__() if c.__module__ == errors.__name__]
    return {cls}.union(*map(error_types, subclasses))


def test_examples_are_complete():
    """
    The examples hold one of each error.
    """
    assert error_types() == {type(error) for error in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_errors_survive_pickling(error, protocol):
    """
    An error comes out of another process with its type, message, arguments and data.
    """
    error.add_note("a note")

    copied = pickle.loads(pickle.dumps(error, protocol))

    assert type(error) is type(copied)
    assert (str(error), repr(error.args)) == (str(copied), repr(copied.args))
    assert set(vars(error)) == set(vars(copied))
    assert error.__notes__ == copied.__notes__


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_can_be_copied(error):
    """
    The copy module makes an equal error.
    """
    copied = copy.copy(error)

    assert (type(error), str(error)) == (type(copied), str(copied))


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (errors.ArgumentError, ValueError),
        (errors.ConfigurationError, ValueError),
        (errors.UnknownSchemeError, LookupError),
        (errors.SchemeConflictError, errors.ConfigurationError),
        (errors.PluginError, ImportError),
        (errors.BackendUnavailableError, ConnectionError),
        (errors.PartlyUnavailableError, errors.BackendUnavailableError),
        (errors.ThreadStartError, errors.BackendUnavailableError),
        (errors.ThreadStartError, RuntimeError),
        (errors.BackendStoreError, errors.BackendError),
        (errors.BackendGetMetaError, errors.BackendError),
        (errors.ResultTooLargeError, ValueError),
        (errors.UnsupportedError, NotImplementedError),
        (errors.EncodeError, TypeError),
        (errors.DecodeError, ValueError),
        (errors.ContentDisallowed, ValueError),
        (errors.SignatureError, ValueError),
        (errors.WaitTimeoutError, TimeoutError),
        (errors.UnknownTaskError, LookupError),
        (errors.TaskRevokedError, errors.TaskError),
        (errors.WorkerLostError, errors.TaskError),
    ],
)
def test_errors_are_what_the_standard_library_would_raise(error, base):
    """
    Whoever catches the standard library's error of the kind catches ours.
    """
    assert issubclass(error, base)
    assert issubclass(error, errors.CoatcheckError)


def test_argument_error_shortens_the_value():
    """
    A value that cannot be is named, but not at length.
    """
    error = errors.ArgumentError("a state", "x" * 10_000, "use a word")

    assert "a state" == error.what
    assert len(str(error)) < 100
    assert str(error).endswith("use a word")


def test_argument_error_survives_a_broken_repr():
    """
    A value whose repr fails does not replace the error.
    """

    class Broken:
        def __repr__(self):
            raise RuntimeError("no repr")

    message = str(errors.ArgumentError("expires", Broken(), "use seconds"))

    assert message.startswith("expires cannot be <Broken instance")


def test_unknown_scheme_names_the_ways_out():
    """
    The message has what is near, what to install and what is installed, in order.
    """
    error = errors.UnknownSchemeError(
        "redsi", installed={"sqlite", "memory"}, near="redis", install="coatcheck[redis]"
    )

    assert (
        "no backend for the scheme 'redsi' is installed; did you mean 'redis'?; install it with: "
        "pip install 'coatcheck[redis]' (installed: memory, sqlite)"
    ) == str(error)
    assert ["memory", "sqlite"] == error.installed


def test_unknown_scheme_without_hints():
    """
    Where nothing is near and nothing is known, the message has only what is installed.
    """
    error = errors.UnknownSchemeError("x", installed=["memory"], near=None, install=None)

    assert "no backend for the scheme 'x' is installed (installed: memory)" == str(error)


def test_content_disallowed_names_the_option():
    """
    The message has the id, the serializer, what is accepted and the option.
    """
    error = errors.ContentDisallowed("t1", "pickle", ["json", "msgpack"])

    for part in ("'t1'", "is pickle", "json, msgpack", "accept="):
        assert part in str(error)


def test_content_disallowed_where_nothing_is_accepted():
    """
    A reader that accepts nothing is told so in words.
    """
    assert "accepts nothing" in str(errors.ContentDisallowed("t", "json", []))


def test_timeout_error_names_few_ids():
    """
    Of many ids the first five are named, and the rest are counted.
    """
    error = errors.WaitTimeoutError({f"t{n}" for n in range(8)}, 2)

    assert "not ready after 2 s: 't0', 't1', 't2', 't3', 't4' and 3 more" == str(error)
    assert 8 == len(error.task_ids)


def test_timeout_error_shows_the_last_error_of_the_store():
    """
    What went wrong while waiting is part of the message and of the data.
    """
    away = errors.BackendUnavailableError("connection refused")

    error = errors.WaitTimeoutError({"t"}, 1, away)

    assert "not ready after 1 s: 't' (the store's last error: connection refused)" == str(error)
    assert away is error.last_error


def test_made_errors_survive_pickling():
    """
    A subclass of TaskError that was made on the fly is made again in the other process.
    """
    error = FAILURE.exception(Trusted())

    copied = pickle.loads(pickle.dumps(error))

    assert isinstance(copied, errors.TaskError)
    assert isinstance(copied, OSError)
    assert "Broken" == type(copied).__name__
    assert ("no",) == copied.args
    assert str(error) == str(copied)
    assert FAILURE.type_name == copied.failure.type_name


def test_read_exceptions_survive_pickling():
    """
    What a reader gets for each kind of failure can go through a process pool.
    """
    codec = Codec()
    for failure in (FAILURE, Failure.revoked("x"), Failure("builtins", "KeyError", args=("k",))):
        failure.note = "raised by task 't'"
        error = codec.exception(failure, wrap=False)

        copied = pickle.loads(pickle.dumps(error))

        assert type(error).__name__ == type(copied).__name__
        assert str(error) == str(copied)
        assert ["raised by task 't'"] == copied.__notes__
