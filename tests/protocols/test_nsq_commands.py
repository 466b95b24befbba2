"""Commands from the client's encoder to the server's decoder, and what is refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nsq import protocol as pynsq

from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import (
    ClientState,
    CommandDecoder,
    CommandLimits,
    NsqProtocolError,
    records,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ID = b"0123456789abcdef"
names = st.from_regex(r"\A[.a-zA-Z0-9_-]{1,54}(#ephemeral)?\Z")
# A CR before the end of a line is no part of it, so an id that ends with one cannot be sent.
ids = st.binary(min_size=16, max_size=16).filter(
    lambda i: b" " not in i and b"\n" not in i and not i.endswith(b"\r")
)
bodies = st.binary(min_size=1, max_size=100)
consuming = st.one_of(
    st.builds(records.Rdy, st.integers(0, 2500)),
    st.builds(records.Fin, ids),
    st.builds(records.Req, ids, st.integers(0, 10**9)),
    st.builds(records.Touch, ids),
    st.builds(records.Pub, names, bodies),
    st.builds(records.Mpub, names, st.lists(bodies, min_size=1, max_size=8)),
    st.builds(records.Dpub, names, st.integers(0, 3_600_000), bodies),
    st.just(records.Nop()),
)
ENCODERS: dict[type, Any] = {
    records.Sub: lambda c: nsq.sub(c.topic, c.channel),
    records.Rdy: lambda c: nsq.rdy(c.ready),
    records.Fin: lambda c: nsq.fin(c.id),
    records.Req: lambda c: nsq.req(c.id, c.delay_ms),
    records.Touch: lambda c: nsq.touch(c.id),
    records.Pub: lambda c: nsq.pub(c.topic, c.body),
    records.Mpub: lambda c: nsq.mpub(c.topic, c.bodies),
    records.Dpub: lambda c: nsq.dpub(c.topic, c.delay_ms, c.body),
    records.Nop: lambda c: nsq.nop(),
    records.Cls: lambda c: nsq.cls(),
}
limits = CommandLimits()


def fault_of(call: Callable[[], object]) -> NsqProtocolError | None:
    try:
        call()
    except NsqProtocolError as error:
        return error
    return None


def encoded(command: Any) -> bytes:
    return bytes(ENCODERS[type(command)](command))


def feed_cut(decoder: CommandDecoder, data: bytes, places: list[int]) -> list[Any]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    return [command for piece in pieces for command in decoder.feed(piece)]


@given(st.lists(consuming, max_size=20), st.lists(st.integers(0, 10_000), max_size=20))
def test_commands_come_out_as_they_went_in_however_the_stream_is_cut(commands, places):
    story = [records.Sub("t", "c"), *commands, records.Cls(), records.Fin(ID)]
    decoder = CommandDecoder(limits)
    assert feed_cut(decoder, b"".join(map(encoded, story)), places) == story
    assert decoder.pending == 0
    assert decoder.state is ClientState.CLOSING


@given(st.lists(consuming, max_size=6))
def test_byte_by_byte(commands):
    data = b"".join(map(encoded, [records.Sub("t", "c"), *commands]))
    decoder = CommandDecoder(limits)
    got = [command for byte in data for command in decoder.feed(bytes([byte]))]
    assert got[1:] == commands


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_raises_the_one_error_or_waits_within_the_caps(data, places):
    decoder = CommandDecoder(CommandLimits(max_msg_size=512, max_body_size=1024, max_line=128))
    fault = fault_of(lambda: feed_cut(decoder, data, places))
    assert fault is None or fault.fatal
    assert decoder.pending <= 300


@given(st.data())
def test_a_command_with_one_byte_changed_does_no_more_than_raise(data):
    command = data.draw(consuming)
    raw = bytearray(encoded(records.Sub("t", "c")) + encoded(command))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    decoder = CommandDecoder(limits)
    fault = fault_of(lambda: decoder.feed(bytes(raw)))
    assert fault is None or fault.code.startswith("E_") or not fault.code


def test_identify_and_auth_pause_the_decoder_until_answered():
    decoder = CommandDecoder(limits)
    data = nsq.identify({"a": 1}) + nsq.auth("secret") + nsq.sub("t", "c")
    (first,) = decoder.feed(data)
    assert json.loads(first.body) == {"a": 1}
    assert decoder.paused
    assert decoder.feed(nsq.rdy(1)) == []
    assert decoder.resume() == [records.Auth(b"secret")]
    assert decoder.resume() == [records.Sub("t", "c"), records.Rdy(1)]
    assert not decoder.paused


def test_rest_is_handed_over_for_an_upgrade():
    decoder = CommandDecoder(limits)
    decoder.feed(nsq.identify({}) + b"\x16\x03\x01")
    assert decoder.take_rest() == b"\x16\x03\x01"
    assert decoder.feed(nsq.nop()) == [records.Nop()]


def length(size: int) -> bytes:
    return struct.pack(">i", size)


SUBSCRIBED = b"SUB t c\n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HELLO\n", "E_INVALID"),
        (b"\n", "E_INVALID"),
        (b"pub t\n", "E_INVALID"),
        (b"RDY 1\n", "E_INVALID"),
        (b"FIN 0123456789abcdef\n", "E_INVALID"),
        (b"CLS\n", "E_INVALID"),
        (SUBSCRIBED + b"SUB t c\n", "E_INVALID"),
        (SUBSCRIBED + b"IDENTIFY\n", "E_INVALID"),
        (SUBSCRIBED + b"CLS\nCLS\n", "E_INVALID"),
        (b"SUB t\n", "E_INVALID"),
        (b"SUB t! c\n", "E_BAD_TOPIC"),
        (b"SUB t c!\n", "E_BAD_CHANNEL"),
        (SUBSCRIBED + b"RDY x\n", "E_INVALID"),
        (SUBSCRIBED + b"RDY -1\n", "E_INVALID"),
        (SUBSCRIBED + b"RDY 2501\n", "E_INVALID"),
        (SUBSCRIBED + b"RDY " + b"9" * 5000 + b"\n", "E_INVALID"),
        (SUBSCRIBED + b"FIN\n", "E_INVALID"),
        (SUBSCRIBED + b"FIN \n", "E_INVALID"),
        (SUBSCRIBED + b"FIN 0123456789abcde\n", "E_INVALID"),
        (SUBSCRIBED + b"FIN 0123456789abcdefg\n", "E_INVALID"),
        (SUBSCRIBED + b"FIN 01234567 9abcdef\n", "E_INVALID"),
        (SUBSCRIBED + b"REQ 0123456789abcdef\n", "E_INVALID"),
        (SUBSCRIBED + b"REQ 0123456789abcdef 1s\n", "E_INVALID"),
        (SUBSCRIBED + b"REQ 0123456789abcdef -1\n", "E_INVALID"),
        (SUBSCRIBED + b"TOUCH abc\n", "E_INVALID"),
        (b"AUTH x\n", "E_INVALID"),
        (b"AUTH\n" + length(0), "E_BAD_BODY"),
        (b"IDENTIFY\n" + length(-1), "E_BAD_BODY"),
        (b"IDENTIFY\n" + length(5 * 1024 * 1024 + 1), "E_BAD_BODY"),
        (b"PUB\n", "E_INVALID"),
        (b"PUB " + b"x" * 65 + b"\n", "E_BAD_TOPIC"),
        (b"PUB t\n" + length(0), "E_BAD_MESSAGE"),
        (b"PUB t\n" + length(-1), "E_BAD_MESSAGE"),
        (b"PUB t\n" + length(1024 * 1024 + 1), "E_BAD_MESSAGE"),
        (b"PUB t\n" + length(2**31 - 1), "E_BAD_MESSAGE"),
        (b"DPUB t\n", "E_INVALID"),
        (b"DPUB t x\n", "E_INVALID"),
        (b"DPUB t -1\n", "E_INVALID"),
        (b"DPUB t 3600001\n", "E_INVALID"),
        (b"DPUB t! 1\n", "E_BAD_TOPIC"),
        (b"DPUB t 1\n" + length(0), "E_BAD_MESSAGE"),
        (b"MPUB\n", "E_INVALID"),
        (b"MPUB t!\n", "E_BAD_TOPIC"),
        (b"MPUB t\n" + length(0), "E_BAD_BODY"),
        (b"MPUB t\n" + length(5 * 1024 * 1024 + 1), "E_BAD_BODY"),
        (b"MPUB t\n" + length(4) + length(0), "E_BAD_BODY"),
        (b"MPUB t\n" + length(4) + length(-1), "E_BAD_BODY"),
        (b"MPUB t\n" + length(4) + length(2**31 - 1), "E_BAD_BODY"),
        (b"MPUB t\n" + length(3) + b"abc", "E_BAD_BODY"),
        (b"MPUB t\n" + length(13) + length(2) + length(1) + b"a" + length(0), "E_BAD_MESSAGE"),
        (b"MPUB t\n" + length(13) + length(2) + length(1) + b"a" + length(9), "E_BAD_MESSAGE"),
        (b"MPUB t\n" + length(8) + length(1) + length(2**20 + 1), "E_BAD_MESSAGE"),
        (b"MPUB t\n" + length(10) + length(1) + length(1) + b"ab", "E_BAD_BODY"),
        (b"x" * 16384, ""),
    ],
)
def test_refusals_carry_nsqds_code_and_keep_what_came_before(data, code):
    with pytest.raises(NsqProtocolError) as caught:
        CommandDecoder(limits).feed(b"NOP\n" + data)
    assert caught.value.code == code
    assert caught.value.fatal
    assert caught.value.records[0] == records.Nop()


def test_a_refusal_by_size_does_not_wait_for_the_body():
    decoder = CommandDecoder(limits)
    assert decoder.feed(b"PUB t\n" + length(100)) == []
    with pytest.raises(NsqProtocolError, match="too big"):
        CommandDecoder(limits).feed(b"PUB t\n" + length(2**20 + 1))


def test_what_nsqd_takes_too():
    decoder = CommandDecoder(limits)
    got = decoder.feed(b"SUB t c extra\r\nRDY\nRDY \nREQ 0123456789abcdef \nNOP more words\n")
    assert got == [
        records.Sub("t", "c"),
        records.Rdy(1),
        records.Rdy(0),
        records.Req(ID, 0),
        records.Nop(),
    ]


@pytest.mark.parametrize("verb", [b"FIN", b"TOUCH"])
def test_a_carriage_return_is_no_part_of_an_id(verb):
    """nsqd trims it from every line, so fifteen bytes are left of these sixteen."""
    decoder = CommandDecoder(limits)
    fault = fault_of(lambda: decoder.feed(b"SUB t c\n" + verb + b" 0123456789abcde\r\n"))
    assert fault is not None
    assert fault.code == "E_INVALID"


def test_a_huge_requeue_delay_is_a_number_not_a_fault():
    decoder = CommandDecoder(limits)
    (_, request) = decoder.feed(SUBSCRIBED + b"REQ 0123456789abcdef " + b"9" * 4000 + b"\n")
    assert request.delay_ms == 2**63 - 1


@given(names, ids, st.lists(bodies, min_size=1, max_size=5), st.integers(0, 1000))
def test_our_encoders_write_the_bytes_that_pynsq_writes(name, message_id, batch, number):
    assert nsq.pub(name, batch[0]) == pynsq.pub(name, batch[0])
    assert nsq.mpub(name, batch) == pynsq.mpub(name, batch)
    assert nsq.dpub(name, number, batch[0]) == pynsq.dpub(name, number, batch[0])
    assert nsq.fin(message_id) == pynsq.finish(message_id)
    assert nsq.req(message_id, number) == pynsq.requeue(message_id, number)
    assert nsq.touch(message_id) == pynsq.touch(message_id)
    assert nsq.rdy(number) == pynsq.ready(number)


def test_an_empty_body_never_reaches_the_wire():
    for call in (
        lambda: nsq.pub("t", b""),
        lambda: nsq.dpub("t", 1, b""),
        lambda: nsq.mpub("t", [b"a", b""]),
        lambda: nsq.mpub("t", []),
        lambda: nsq.auth(b""),
    ):
        with pytest.raises(NsqProtocolError):
            call()


def test_numbers_and_ids_out_of_range_are_refused_before_the_wire():
    for call in (
        lambda: nsq.rdy(-1),
        lambda: nsq.req(ID, -1),
        lambda: nsq.dpub("t", -1, b"x"),
        lambda: nsq.fin(b"short"),
        lambda: nsq.req(b"", 0),
        lambda: nsq.touch(b"0123456789abcdefg"),
    ):
        with pytest.raises(NsqProtocolError):
            call()


def test_bodies_are_bytes_and_anything_else_names_its_type():
    for body in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        assert nsq.pub("t", body) == nsq.pub("t", b"abc")
        assert nsq.mpub("t", [body]) == nsq.mpub("t", [b"abc"])
    with pytest.raises(TypeError, match="not str"):
        nsq.pub("t", "abc")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="not int"):
        nsq.mpub("t", [b"x", 3])  # type: ignore[list-item]  # the mistake under test


def test_checks_hold_under_python_o():
    code = (
        "from irismq_runtime.protocols import nsq\n"
        "for call in (lambda: nsq.pub('t\\n', b'x'), lambda: nsq.sub('a b', 'c')):\n"
        "    try: call()\n"
        "    except nsq.InvalidName: continue\n"
        "    raise SystemExit(1)\n"
    )
    assert subprocess.run([sys.executable, "-O", "-c", code], check=False).returncode == 0


def test_mpub_size_is_what_the_length_field_says():
    batch = [b"a" * 7, b"b" * 100]
    data = nsq.mpub("t", batch)
    assert struct.unpack_from(">I", data, len(b"MPUB t\n"))[0] == nsq.mpub_size(batch)
