"""
Exceptions, values and classes that fail wherever they are touched.
"""

import asyncio
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Frozen(Exception):
    code: int = 5


class Slotted(Exception):
    __slots__ = ("code",)


class Unset(Exception):
    def __setattr__(self, name, value):
        raise RuntimeError(f"{name} cannot be set")

    def __delattr__(self, name):
        raise RuntimeError(f"{name} cannot be deleted")


class Unasked(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(f"{name} cannot be read")


class Pretending(Exception):
    @property
    def __class__(self):
        raise SystemExit("class")


def _speaks(error):
    class Speaking(Exception):
        def __str__(self):
            raise error

        __repr__ = __str__
        __reduce__ = __str__
        __reduce_ex__ = __str__
        args = property(__str__)
        __notes__ = property(__str__)
        __cause__ = property(__str__)
        __context__ = property(__str__)
        __traceback__ = property(__str__)

    return Speaking


class Recursing(Exception):
    def __str__(self):
        return str(self)

    __repr__ = __str__


class Mute(Exception):
    def __str__(self):
        return 5

    __repr__ = __str__


class Loud(Exception):
    def __str__(self):
        return "x" * 10_000_000


class Text(str):
    __slots__ = ()

    def __format__(self, spec):
        raise SystemExit("format")

    __str__ = __repr__ = encode = startswith = lambda self, *_: sys.exit("text")


class Texts(Exception):
    def __str__(self):
        return Text("text")


class Meta(type):
    def __getattribute__(cls, name):
        raise SystemExit(name)

    def __hash__(cls):
        raise SystemExit("hash")

    def __eq__(cls, other):
        raise SystemExit("eq")


class OfMeta(Exception, metaclass=Meta):
    pass


class Attributes(dict):
    def items(self):
        raise SystemExit("items")

    get = keys = values = __iter__ = __getitem__ = __setitem__ = items


class Falsy(Exception):
    def __bool__(self):
        raise RuntimeError("bool")

    def __len__(self):
        raise RuntimeError("len")

    def __eq__(self, other):
        raise RuntimeError("eq")

    __hash__ = None


class Value:
    """
    A value that nothing can be done with.
    """

    def __repr__(self):
        raise SystemExit("repr")

    __str__ = __reduce__ = __eq__ = __repr__
    __hash__ = None

    @property
    def __class__(self):
        raise SystemExit("class")


class OfMetaValue(metaclass=Meta):
    pass


def attributed():
    error = ValueError("m")
    error.__dict__ = Attributes(a=1, __notes__=["n"])
    return error


def noted():
    error = ValueError("m")
    error.__notes__ = [5, Value(), Text("t"), b"x"]
    return error


def caused():
    error = ValueError("m")
    error.__cause__ = Unasked("c")
    error.__context__ = OfMeta("c")
    return error


def circled():
    error, other = ValueError("m"), KeyError("k")
    error.__cause__, other.__cause__ = other, error
    return error


def syntactic():
    error = SyntaxError("m", ("f", 1, 2, "t"))
    error.text, error.lineno, error.offset = 5, "l", 2**70
    error.filename = Value()
    return error


def _with_attribute():
    error = ValueError("m")
    error.value, error.data, error.of_meta = Value(), Attributes(a=1), type.__call__(OfMetaValue)
    return error


HOSTILE = {
    "frozen": Frozen,
    "slots": Slotted,
    "no setting": Unset,
    "no reading": Unasked,
    "class": Pretending,
    "exit": _speaks(SystemExit("no")),
    "interrupt": _speaks(KeyboardInterrupt()),
    "generator": _speaks(GeneratorExit()),
    "cancelled": _speaks(asyncio.CancelledError()),
    "recursion": Recursing,
    "mute": Mute,
    "loud": Loud,
    "texts": Texts,
    "metaclass": lambda: type.__call__(OfMeta),
    "attributes": attributed,
    "falsy": Falsy,
    "notes": noted,
    "cause": caused,
    "circle": circled,
    "syntax": syntactic,
    "argument": lambda: ValueError(Value(), Text("t"), Attributes(a=1)),
    "argument of a metaclass": lambda: ValueError(type.__call__(OfMetaValue)),
    "attribute": _with_attribute,
    "group": lambda: ExceptionGroup("g", [Unasked("x"), Frozen(1), ValueError(Value())]),
    "group of text": lambda: ExceptionGroup(Text("g"), [ValueError()]),
}


class Items(list):
    def __iter__(self):
        raise SystemExit("iter")

    __len__ = __getitem__ = __reduce_ex__ = __iter__


class Pair(tuple):
    __slots__ = ()

    def __iter__(self):
        raise SystemExit("iter")

    __reduce_ex__ = __iter__


class Map(Attributes):
    __reduce_ex__ = Attributes.items


VALUES = {
    "value": Value,
    "dict": lambda: Map(a=1),
    "metaclass": lambda: type.__call__(OfMetaValue),
    "list": lambda: Items([1]),
    "tuple": lambda: Pair((1,)),
}
