"""Exceptions whose classes misbehave, and ends that are no `Exception`.

Each is made by a function, fresh for each use, and named by it. What a user's class
may do to whoever asks it for a text, an attribute or its own class is here once.
"""

from __future__ import annotations

import asyncio

from actors import Refused, Reject, Retry


class TextIsNoText(Exception):
    def __str__(self):
        return self.args[0]


class TextExits(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class TextIsStrange(Exception):
    def __str__(self):
        class Text(str):
            __slots__ = ()

            def split(self, *_):
                raise LookupError

            encode = __format__ = __getitem__ = strip = split

        return Text("strange \udc80")


class TextNeverEnds(Exception):
    def __str__(self):
        return str(self)


class NeedsArguments(Exception):
    def __init__(self, first, second):
        super().__init__()


class Attributes(Exception):
    @property
    def __cause__(self):
        raise SystemExit(4)

    __context__ = __notes__ = __suppress_context__ = __cause__


class NoTraceback(Exception):
    @property
    def __traceback__(self):
        raise KeyboardInterrupt

    def with_traceback(self, _):
        raise KeyboardInterrupt


class NoClass(Exception):
    @property
    def __class__(self):
        raise LookupError("whoever asks")


class Nothing(Exception):
    def __getattribute__(self, name):
        raise SystemExit(5)


class _Nameless(type):
    def __getattribute__(cls, name):
        if name in {"__name__", "__qualname__", "__module__"}:
            raise LookupError
        return super().__getattribute__(name)


class NoName(Exception, metaclass=_Nameless):
    pass


class _Alone(type):
    def __hash__(cls):
        raise LookupError

    def __eq__(cls, _):
        raise SystemExit(8)

    def __subclasscheck__(cls, _):
        raise SystemExit(8)

    __instancecheck__ = __subclasscheck__


class NoKey(Exception, metaclass=_Alone):
    pass


class NoValue(Exception):
    def __bool__(self):
        raise LookupError

    __eq__ = __len__ = __bool__
    __hash__ = __bool__


class NoCopy(Exception):
    def __reduce__(self):
        raise SystemExit(6)

    __reduce_ex__ = __copy__ = __deepcopy__ = __reduce__


class OfNoKind(BaseException):
    pass


class MuteRefusal(Refused):
    def __init__(self):
        pass

    def __str__(self):
        raise LookupError


class MuteRetry(Retry):
    def __init__(self):
        pass


class MuteReject(Reject):
    def __init__(self):
        pass

    def __str__(self):
        raise SystemExit(7)


def _late_retry():
    error = Retry()
    error.after = "soon"
    return error


def _in_a_circle():
    error = LookupError("round")
    error.__cause__ = error
    return error


#: Those that are a crash wherever they leave a handler.
CRASHES = {
    "a text that is none": lambda: TextIsNoText(404),
    "a text that exits": lambda: TextExits("x"),
    "a text of a strange class": lambda: TextIsStrange("x"),
    "a text that never ends": lambda: TextNeverEnds("x"),
    "a constructor with arguments": lambda: NeedsArguments(1, 2),
    "a cause that exits": Attributes,
    "a traceback that interrupts": NoTraceback,
    "a class that raises": NoClass,
    "attributes that all exit": Nothing,
    "a class without a name": lambda: NoName("x"),
    "a value that cannot be compared": NoValue,
    "a class that is no key": lambda: NoKey("x"),
    "a copy that exits": NoCopy,
    "a cause of itself": _in_a_circle,
    "a text of megabytes": lambda: ValueError("x" * 2_000_000),
    "SystemExit": lambda: SystemExit(9),
    "SystemExit of an object": lambda: SystemExit(object()),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "a BaseException of one's own": OfNoKind,
    "a Retry after no number": _late_retry,
}
#: As these, but Python itself makes others of them where they leave a coroutine.
ENDS = {
    "CancelledError": asyncio.CancelledError,
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration,
}
#: Those that are meant as an answer.
ANSWERS = {
    "a refusal without words": MuteRefusal,
    "a rejection without words": MuteReject,
}
ALL = {**CRASHES, **ENDS, **ANSWERS}
