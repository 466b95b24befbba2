"""Faults: any exception becomes short text, and one of our errors at the asker."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors import Exit
from actors.errors import (
    ActorCrashed,
    ActorDeadError,
    AskCancelled,
    AskCycle,
    AskTimeout,
    MailboxFull,
    Overloaded,
    Refused,
    Reject,
    Restarting,
)
from irismq_runtime.errors import (
    DecodeError,
    NoSuchService,
    NotSigned,
    RemoteError,
    UnknownType,
    ValidationError,
)
from irismq_runtime.wire import FaultBody, decode_fault_untrusted, encode_fault


def carried(fault: FaultBody) -> FaultBody:
    body = encode_fault(fault)
    assert len(body) < 48 * 1024  # bytes, whatever characters the texts are of
    return decode_fault_untrusted(body)


def arrives_as(error: BaseException, **options: Any) -> Any:
    return carried(FaultBody.of(error, **options)).to_exception("shop.cart")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # to have a traceback
        return caught


class Picky(Exception):
    def __init__(self, *, sku: str, shelf: int) -> None:
        super().__init__(sku, shelf)
        self.lock = threading.Lock()


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Circular(Exception):
    pass


def circular() -> BaseException:
    error = Circular("round")
    other = Circular("and round")
    error.__cause__, other.__cause__ = other, error
    return error


def deep_chain() -> BaseException:
    error: BaseException = ValueError("first")
    for index in range(3000):
        later = ValueError(index)
        later.__cause__ = error
        error = later
    return error


ODD = {
    "odd constructor, holds a lock": (Picky(sku="a", shelf=1), "('a', 1)"),
    "5 MB of text": (ValueError("x" * 5_000_000), "4,996,000 bytes left out"),
    "a circle of causes": (circular(), "round"),
    "a long chain of causes": (deep_chain(), "2999"),
    "a lone surrogate": (ValueError("a\ud800b"), "a\\ud800b"),
    "no text": (Silent(), "cannot be had"),
    "a group": (ExceptionGroup("g", [ValueError("v")] * 1000), "1000 sub-exceptions"),
    "bytes that are no text": (OSError(b"\xff\xfe"), "\\xff"),
    "a class with a huge name": (type("N" * 5000, (Exception,), {})("t"), "t"),
}


@pytest.mark.parametrize("name", ODD)
def test_any_exception_reaches_the_asker_as_text(name: str) -> None:
    error, expected = ODD[name]
    remote = arrives_as(raised(error), crashed=True)
    assert type(remote) is RemoteError
    assert expected in remote.text
    assert len(remote.text) < 4_100
    assert 0 < len(remote.traceback_text) < 16_100
    assert type(error).__name__[:100] in remote.type_name
    assert "test_faults.py" in remote.traceback_text or "left out" in remote.traceback_text


@example(text="\U00010000", again=20_000)
@example(text="\udc80", again=20_000)
@given(text=st.text(st.characters(), max_size=50), again=st.integers(1, 500))
def test_any_text_at_all(text: str, again: int) -> None:
    remote = arrives_as(ValueError(text * again), crashed=True)
    assert type(remote) is RemoteError
    assert remote.type_name == "builtins.ValueError"
    assert len(remote.text) < 4_100


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("own"),
        asyncio.CancelledError(),
        concurrent.futures.TimeoutError(),
        StopIteration(5),
        KeyboardInterrupt(),
        SystemExit(3),
        AskTimeout("b", "Sale", 1.0, "waiting"),
        MailboxFull("b", 10),
        ActorDeadError("b"),
        Refused("not by this actor"),
        GeneratorExit(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_leaves_a_handler_is_never_taken_for_something_else(
    error: BaseException,
) -> None:
    remote = arrives_as(raised(error), crashed=True, message_type="shop.reserve")
    assert type(remote) is RemoteError
    assert isinstance(remote, ActorCrashed)
    assert not isinstance(remote, TimeoutError)
    assert remote.type_name.endswith(type(error).__name__)
    assert remote.exit.message_type == "shop.reserve"
    assert remote.address == "shop.cart"


MEANT: list[tuple[BaseException, type[Exception], dict[str, object]]] = [
    (Refused("no such sku", code="sku"), Refused, {"reason": "no such sku", "code": "sku"}),
    (Reject("poison"), Refused, {"reason": "poison", "code": "rejected"}),
    (ValidationError("$.qty", "is text"), Refused, {"code": "invalid"}),
    (UnknownType("shop.x"), Refused, {"code": "unknown-type"}),
    (NotSigned(), Refused, {"code": "not-authentic"}),
    (DecodeError("cut"), Refused, {"code": "undecodable"}),
    (Restarting("a", 1.5), Restarting, {"target": "shop.cart", "retry_after": 1.5}),
    (MailboxFull("a", 5), Overloaded, {}),
    (ActorDeadError("a"), ActorDeadError, {"target": "shop.cart", "exit": None}),
    (AskCancelled("a", "Sale"), AskCancelled, {"message_type": "Sale"}),
    (AskCycle("a", ("x", "a")), AskCycle, {"chain": ("x", "a")}),
    (NoSuchService("a"), NoSuchService, {"address": "shop.cart"}),
    (AskTimeout("a", "Sale", 2.0, "s"), AskTimeout, {"waited": 2.0, "message_type": "Sale"}),
    (ValueError("v"), RemoteError, {"type_name": "builtins.ValueError", "text": "v"}),
]


@pytest.mark.parametrize("case", MEANT, ids=lambda case: type(case[0]).__name__)
def test_what_the_runtime_means_arrives_as_meant(
    case: tuple[BaseException, type[Exception], dict[str, object]],
) -> None:
    error, kind, fields = case
    arrived = arrives_as(error)
    assert type(arrived) is kind
    assert {name: getattr(arrived, name) for name in fields} == fields


class Bare(Refused):
    """A subclass that takes the text and leaves the fields out."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)


class Loose(AskCycle):
    def __init__(self) -> None:
        super().__init__("a", ("x\ud800", *("y" * 5000 for _ in range(500))))


def test_what_subclasses_of_users_leave_out_or_overdo() -> None:
    refused = arrives_as(Bare("no"))
    assert (type(refused), refused.reason, refused.code) == (Refused, "no", None)
    assert arrives_as(Refused("r", code="\ud800" * 400)).code.startswith("\\ud800")
    cycle = arrives_as(Loose())
    assert (len(cycle.chain), cycle.chain[0]) == (100, "x\\ud800")
    assert arrives_as(Restarting("a", 1)).retry_after == 1.0


def test_a_death_tells_how() -> None:
    exit_ = Exit("crash", ValueError("v"), "Sale", restarts=3)
    dead = arrives_as(ActorDeadError("a", exit_)).exit
    assert (dead.reason, dead.message_type, dead.restarts) == ("crash", "Sale", 3)
    crashed = arrives_as(ActorCrashed("a", exit_))
    assert (crashed.exit.restarts, crashed.exit.message_type) == (3, "Sale")


def test_the_traceback_can_be_kept_to_the_node() -> None:
    remote = arrives_as(raised(ValueError("v")), traceback=False)
    assert remote.traceback_text == ""
    assert remote.text == "v"


@given(body=st.binary(max_size=100))
def test_garbage_is_one_error(body: bytes) -> None:
    try:
        decode_fault_untrusted(body)
    except DecodeError:
        return


def test_unknown_keys_are_ignored_and_unknown_kinds_refused() -> None:
    assert decode_fault_untrusted(b"\x82\xa4kind\xa7refused\xa5later\x01").kind == "refused"
    with pytest.raises(DecodeError):
        decode_fault_untrusted(b"\x81\xa4kind\xa5later")
