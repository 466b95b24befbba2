"""A value that comes later: awaited on a loop, or fetched by a thread.

A `Future` is resolved once, from any thread. Waiting for it never blocks a
thread that runs an event loop: there `await` it, and `get()` raises
`BlockingCall` while the value is not there.

Order of events without a lock: a waiter first adds itself and then looks again
whether the value is there; the resolver first stores the value and then takes
the waiters. Whichever comes second sees the other. Waking twice is harmless.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import sys
import threading
from asyncio import _get_running_loop as running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

import pykka

from actors.errors import AskCancelled, AskTimeout, BlockingCall
from actors.rules import SECONDS, need
from actors.texts import exc_info_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from actors.unheard import Unheard

__all__ = ["Future", "LoopFuture"]

logger = logging.getLogger("actors")

#: Held by a thread that makes the list of waiters of a future, which happens once in its life.
_making_waiters: Final = threading.Lock()

T = TypeVar("T")
J = TypeVar("J")
M = TypeVar("M")
R = TypeVar("R")


class Future(pykka.Future[T], Generic[T]):
    """A `pykka.Future` that can be awaited without blocking the loop."""

    __slots__ = ("_done", "_error", "_value", "_waiters")

    # What few futures have is a class attribute until it is set.
    _hook: Callable[[float | None], T] | None = None
    _sources: tuple[pykka.Future[Any], ...] = ()
    _on_cancel: Callable[[], object] | None = None
    #: Who waits besides; () until somebody does, as most have nobody.
    _waiters: list[_Waiter] | tuple[()]
    #: Set when it failed while nobody waited for it.
    _unheard: Unheard | None = None

    def __init__(self, on_cancel: Callable[[], object] | None = None) -> None:
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._waiters = ()
        if on_cancel is not None:
            self._on_cancel = on_cancel

    def __repr__(self) -> str:
        failed = self._error is not None
        state = "pending" if not self._done else "failed" if failed else "done"
        return f"<actors.Future {state}>"

    def done(self) -> bool:
        """True when `get()` would not wait."""
        return self._done

    def cancel(self) -> bool:
        """Give up waiting: it fails with `AskCancelled`, and `on_cancel` is called.

        False when it is resolved already.
        """
        if self._done:
            return False
        self._resolve(None, AskCancelled("a future", "its value"))
        if self._on_cancel is not None:
            self._on_cancel()
        return True

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call `callback(self)` once when it is resolved, in the resolver's thread; now if it is.

        Args:
            callback: What it raises is logged, and no business of who resolves this.
        """
        waiter = _Callback(self, callback)
        self._add(waiter)
        if self._done:
            self._look()
            waiter.set()

    def get(self, *, timeout: float | None = None) -> T:
        """Return the value; waits for it in this thread.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Raises:
            AskTimeout: it was not resolved in time.
            BlockingCall: the value is not there, and this thread runs an event loop, or has
                the one that would bring the value.
            BaseException: what it was resolved with, if that is an exception.
        """
        if timeout is not None:
            need(SECONDS, "timeout", timeout)
        if not self._done:
            if self._hook is not None:
                self._value = self._hook(timeout)
                self._done = True
            else:
                self._block(timeout)
        if self._error is not None:
            self._look()
            raise self._error
        value: T = self._value
        return value

    def set(self, value: T | None = None) -> None:
        """Resolve it. Any thread.

        Args:
            value: What who waits gets.

        Raises:
            queue.Full: it is resolved already.
        """
        self._claim()
        self._resolve(value, None)

    def set_exception(self, exc_info: Any = None) -> None:
        """Resolve it with an exception. Any thread.

        Args:
            exc_info: A triple as of `sys.exc_info()`; None: the exception that is being handled.

        Raises:
            queue.Full: it is resolved already.
            TypeError: there is no exception.
        """
        kind, error, traceback = exc_info if exc_info is not None else sys.exc_info()
        if error is None:
            if kind is None:
                raise TypeError("set_exception() needs an exception, or one being handled")
            error = kind()
        if traceback is not None:
            # Of the base class: what a user's class makes of it is not asked.
            BaseException.with_traceback(error, traceback)
        self._claim()
        self._resolve(None, error)

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Let `get(timeout)` call `func(timeout)` for the value.

        Args:
            func: Gets the seconds to wait at most, or None, and gives the value or raises.

        Raises:
            queue.Full: it is resolved already.
        """
        if self._done:
            raise queue.Full
        self._hook = func

    def filter(
        self: pykka.Future[Iterable[J]], func: Callable[[J], bool]
    ) -> pykka.Future[Iterable[J]]:
        """Return a future of the items that `func` accepts, as Pykka's.

        Args:
            func: Called with each item when the value is fetched.
        """
        return _derived(lambda timeout: list(filter(func, self.get(timeout=timeout))), self)

    def join(self: pykka.Future[Any], *futures: pykka.Future[Any]) -> pykka.Future[Iterable[Any]]:
        """Return a future of the list of the values of this one and of `futures`, as Pykka's.

        Args:
            futures: Whose values follow this one's, in their order.
        """
        sources = (self, *futures)
        return _derived(lambda timeout: [each.get(timeout=timeout) for each in sources], *sources)

    def map(self, func: Callable[[T], M]) -> pykka.Future[M]:
        """Return a future of `func(value)`, as Pykka's.

        Args:
            func: Called when the value is fetched.
        """
        return _derived(lambda timeout: func(self.get(timeout=timeout)), self)

    def reduce(
        self: pykka.Future[Iterable[J]], func: Callable[[R, J], R], *args: R
    ) -> pykka.Future[R]:
        """Return a future of the items folded with `func`, as Pykka's.

        Args:
            func: Gets what came of the items so far, and the next one.
            args: The value to begin with, if there is one.
        """
        return _derived(
            lambda timeout: functools.reduce(func, self.get(timeout=timeout), *args), self
        )

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            if self._hook is None:
                yield from self._wait()
            else:
                for source in self._sources:
                    yield from source.__await__()
        return self.get()

    __iter__ = __await__

    def _look(self) -> None:
        """Somebody looks at the failure: it need not be said."""
        if self._unheard is not None:
            self._unheard.heard = True

    def _claim(self) -> None:
        if self._done or self._hook is not None:
            raise queue.Full

    def _resolve(self, value: Any, error: BaseException | None) -> None:
        self._value = value
        self._error = error
        self._done = True
        if self._waiters:
            self._wake_all()

    def _add(self, waiter: _Waiter) -> None:
        """Let `waiter` wait too. Any thread."""
        waiters = self._waiters
        if isinstance(waiters, tuple):
            with _making_waiters:
                # Looked at again: another thread may have been quicker.
                waiters = self._waiters
                if isinstance(waiters, tuple):
                    waiters = self._waiters = []
        waiters.append(waiter)

    def _wake_all(self) -> None:
        for waiter in tuple(self._waiters):
            _wake(waiter)

    def _wait(self) -> Generator[Any, None, None]:
        waiter = asyncio.get_running_loop().create_future()
        self._add(waiter)
        if self._done:
            return
        try:
            yield from waiter
        except asyncio.CancelledError:
            self._waiter_left(waiter)
            raise

    def _waiter_left(self, waiter: asyncio.Future[None]) -> None:
        """A task that awaited this was cancelled; the last one cancels this too."""
        if isinstance(self._waiters, list):
            self._waiters.remove(waiter)
        if not self._waiters and self._on_cancel is not None:
            self.cancel()

    def _block(self, timeout: float | None) -> None:
        if running_loop() is not None:
            raise BlockingCall(
                "get() on a thread that runs an event loop would block that loop; "
                "write `await future` there"
            )
        if get_ident() == self._loop_thread():
            raise BlockingCall(
                "get() would wait for ever: the loop that brings the value belongs to this "
                "thread and stands still; write `loop.run_until_complete(future)`, or `await "
                "future` in a coroutine"
            )
        waiter = threading.Event()
        self._add(waiter)
        if not self._done and not waiter.wait(timeout):
            raise self._timed_out(timeout or 0.0)

    def _loop_thread(self) -> int:
        """Name the thread of the loop that resolves this; 0 when any thread may."""
        return 0

    def _timed_out(self, waited: float) -> AskTimeout:
        return AskTimeout("a future", "its value", waited, "not resolved")


class Home(Protocol):
    """Where a `LoopFuture` is resolved: a system."""

    loop: asyncio.AbstractEventLoop
    #: The thread of `loop`.
    thread_id: int

    def call_on_loop(self, callback: Callable[..., Any], /, *args: Any) -> bool:
        """See `System.call_on_loop`."""
        ...


class LoopFuture(Future[T]):
    """A future that one loop resolves and, as a rule, one task of that loop awaits.

    The hot path of `await ref.ask(...)`: the asyncio future of that task stands apart,
    in `_waiter`; whoever else waits is among `_waiters`. When nobody waits any more
    because all were cancelled, this is cancelled too. Whoever makes one sets the
    fields: there are too many of them for a call more.
    """

    __slots__ = ("_home", "_waiter")

    _home: Home
    _waiter: asyncio.Future[None] | None

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            home = self._home
            if self._waiter is not None or get_ident() != home.thread_id:
                return (yield from super().__await__())
            self._awaited()
            if not self._done:
                waiter = self._waiter = home.loop.create_future()
                try:
                    if not self._done:
                        yield from waiter
                except asyncio.CancelledError:
                    self._waiter = None
                    if not self._waiters:
                        self.cancel()
                    raise
        if self._error is not None:
            self._look()
            raise self._error
        value: T = self._value
        return value

    __iter__ = __await__

    def _resolve(self, value: Any, error: BaseException | None) -> None:
        self._value = value
        self._error = error
        self._done = True
        if self._waiter is not None:
            self._wake_first(self._waiter)
        if self._waiters:
            self._wake_all()

    def _awaited(self) -> None:
        """A task of the loop is about to wait: whoever can may bring the value at once."""

    def _wake_first(self, waiter: asyncio.Future[None]) -> None:
        home = self._home
        if get_ident() != home.thread_id:
            home.call_on_loop(self._wake_first, waiter)
        elif not waiter.done():
            waiter.set_result(None)

    def _waiter_left(self, waiter: asyncio.Future[None]) -> None:
        super()._waiter_left(waiter)
        if not self._waiters and self._waiter is None:
            self._home.call_on_loop(self.cancel)

    def _loop_thread(self) -> int:
        return self._home.thread_id


def _derived(hook: Callable[[float | None], M], *sources: pykka.Future[Any]) -> Future[M]:
    future: Future[M] = Future()
    future._hook = hook  # noqa: SLF001  # a future of our own, just made
    future._sources = sources  # noqa: SLF001  # as above
    return future


class _Callback:
    """A function among the waiters; called once."""

    __slots__ = ("_call", "_future")

    def __init__(self, future: Future[Any], call: Callable[[Any], object]) -> None:
        self._future = future
        self._call: Callable[[Any], object] | None = call

    def set(self) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        try:
            call(self._future)
        except BaseException as error:
            # Whoever resolves the future is not to blame, and others wait behind this one.
            logger.exception("A callback of %r failed", self._future, exc_info=exc_info_of(error))


_Waiter: TypeAlias = "asyncio.Future[None] | threading.Event | _Callback"


_SET_BY_HAND: Final = (threading.Event, _Callback)


def _wake(waiter: _Waiter) -> None:
    if isinstance(waiter, _SET_BY_HAND):
        waiter.set()
        return
    loop = waiter.get_loop()
    if loop is running_loop():
        _finish(waiter)
        return
    try:
        loop.call_soon_threadsafe(_finish, waiter)
    except RuntimeError:
        # The loop of the waiter is closed: nobody waits there any more.
        return


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
