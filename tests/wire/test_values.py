"""Everything accepted arrives equal in value and type; the rest names its path."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irismq_runtime.errors import DecodeError, EncodeError, MessageTooLarge
from irismq_runtime.wire import DEFAULT_LIMITS, MsgpackCodec, WireLimits
from tests.wire.samples import Colour, Line, Point, Ref, Status, exact, serializer, values

wire = serializer()
CODECS = ["msgpack", "json"]


def round_trip(value: object, codec: str = "msgpack") -> Any:
    type_name, body, header = wire.dump(value, codec)
    return wire.load(type_name, body, header)


def refusal(value: object, codec: str = "msgpack") -> EncodeError:
    with pytest.raises(EncodeError) as caught:
        wire.dump(value, codec)
    return caught.value


def nested(depth: int, kind: Any = list) -> Any:
    value = kind()
    for _ in range(depth - 1):
        value = kind([value])
    return value


@pytest.mark.parametrize("codec", CODECS)
@given(value=values)
@settings(deadline=None)
def test_every_value_arrives_equal_in_value_and_type(codec: str, value: object) -> None:
    assert exact(round_trip(value, codec)) == exact(value)


@given(value=values)
@settings(deadline=None)
def test_a_body_in_the_wrong_codec_is_a_value_or_one_error(value: object) -> None:
    _, body, _ = wire.dump(value)
    try:
        wire.load("", body, "json")
    except DecodeError:
        return


@given(data=st.binary(max_size=200), codec=st.sampled_from(CODECS))
@settings(deadline=None)
def test_garbage_is_a_value_or_one_error(data: bytes, codec: str) -> None:
    try:
        wire.load("", data, codec)
    except DecodeError:
        return


@given(value=values, data=st.data())
@settings(deadline=None)
def test_a_truncated_body_is_one_error(value: object, data: st.DataObject) -> None:
    _, body, _ = wire.dump(value)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(DecodeError):
        wire.load("", body[:cut])


# Text, bytes, numbers --------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_str_and_bytes_stay_what_they_are(codec: str) -> None:
    value = {"text": "é\x00", b"key": b"\xff\x00", "pair": ["a", b"a"]}
    assert exact(round_trip(value, codec)) == exact(value)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_mutable_bytes_are_refused_with_their_path(kind: Any) -> None:
    error = refusal({"body": [kind(b"abc")]})
    assert error.path == "$.body[0]"
    assert kind.__name__ in error.reason
    assert refusal(kind(b"abc")).path == "$"


INTEGERS = [
    *(sign * 2**63 + step for sign in (1, -1) for step in (-1, 0, 1)),
    2**64 - 1,
    2**64,
    10**400,
    -(10**5000),
    2**53 - 1,
    2**53,
    -(2**53),
    True,
    False,
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", INTEGERS, ids=lambda v: f"{v.bit_length()}-bits")
def test_integers_of_every_size(value: int, codec: str) -> None:
    assert exact(round_trip({"n": [value]}, codec)) == exact({"n": [value]})


def test_foreign_integers_are_refused_at_the_caller() -> None:
    class Int64(int):
        """As numpy's: an int that is not exactly int."""

    assert refusal({"rows": [{"n": Int64(5)}]}).path == "$.rows[0].n"
    error = refusal({"status": Status.PAID})
    assert error.path == "$.status"
    assert "enum" in error.reason


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "bits",
    [
        0x7FF8000000000000,
        0x7FF8000000000123,
        0xFFF8000000000001,
        0x7FF0000000000000,
        0xFFF0000000000000,
        0x8000000000000000,
        0x0000000000000001,
        0x3FB999999999999A,
    ],
    ids=hex,
)
def test_floats_bit_for_bit(bits: int, codec: str) -> None:
    value = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    for arrived in (round_trip(value, codec), round_trip([value], codec)[0]):
        assert struct.pack(">d", arrived) == bits.to_bytes(8, "big")


def test_a_deadline_that_is_no_number_is_refused() -> None:
    from irismq_runtime.wire import Envelope, Kind, encode_envelope, new_id

    for value in (math.nan, math.inf, 1.5, -1, True, 2**60):
        with pytest.raises(EncodeError) as caught:
            encode_envelope(Envelope(Kind.ASK, new_id(), "", b"\xc0", {"d": value}))
        assert caught.value.path == "$.headers.d"


# Dates -----------------------------------------------------------------------

INSTANTS = [
    datetime(2024, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC),
    datetime(2100, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=timezone(timedelta(seconds=-30))),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("instant", INSTANTS, ids=str)
def test_instant_and_offset_are_kept(instant: datetime, codec: str) -> None:
    arrived = round_trip(instant, codec)
    assert arrived == instant
    assert arrived.utcoffset() == instant.utcoffset()
    assert arrived.microsecond == instant.microsecond


@pytest.mark.parametrize("fold", [0, 1])
def test_of_a_repeated_hour_the_offset_decides(fold: int) -> None:
    moment = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    arrived = round_trip(moment)
    assert arrived.utcoffset() == timedelta(hours=2 - fold)
    assert arrived.timestamp() == moment.timestamp()


def test_naive_datetimes_are_refused() -> None:
    error = refusal({"when": [datetime(2024, 1, 1)]})  # noqa: DTZ001  # what is refused
    assert error.path == "$.when[0]"
    assert "zone" in error.reason
    with pytest.raises(DecodeError):
        wire.load("", b"\xc7\x13\x032024-01-01T00:00:00")


def test_times_without_an_offset_of_their_own() -> None:
    assert round_trip(time(12, 30)) == time(12, 30)
    assert refusal([time(12, 30, tzinfo=ZoneInfo("Europe/Berlin"))]).path == "$[0]"


@pytest.mark.parametrize("where", ["alone", "in a list", "in a map", "in a tuple", "as a key"])
def test_timestamps_of_other_libraries(where: str) -> None:
    def stamped(moment: object) -> tuple[bytes, object]:
        pack = msgpack.packb(msgpack.Timestamp(-1, 500_000_999), strict_types=True)
        forms = {
            "alone": (pack, moment),
            "in a list": (b"\x92\x01" + pack, [1, moment]),
            "in a map": (b"\x81\xa1a" + pack, {"a": moment}),
            "in a tuple": (b"\x92\xd4\x01t" + pack, (moment,)),
            "as a key": (b"\x81" + pack + b"\x01", {moment: 1}),
        }
        return forms[where]

    data, expected = stamped(datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC))
    assert exact(wire.load("", data)) == exact(expected)


@pytest.mark.parametrize(
    "stamp",
    [
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\xc7\x0c\xff" + b"\x00" * 4 + b"\x7f" + b"\xff" * 7,
        b"\xd7\xff" + b"\xff" * 8,
        b"\xc7\x05\xff12345",
        b"\xc7\x0c\x03" + b"9" * 12,
        b"\xd6\x04abcd",
    ],
    ids=repr,
)
def test_corrupt_stamps_are_refused(stamp: bytes) -> None:
    for data in (stamp, b"\x91" + stamp, b"\x81\xa1a" + stamp):
        with pytest.raises(DecodeError):
            wire.load("", data)


# Containers ------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_collections_keep_their_types(codec: str) -> None:
    value = {
        "tuple": (1, (2, [3])),
        "empty": ((), [], {}, set(), frozenset()),
        "set": {1, "a", (2, 3)},
        "frozen": frozenset({frozenset({1})}),
        "keys": {1: "int", (1, 2): "tuple", None: "none", 2.5: "float", b"b": "bytes"},
    }
    assert exact(round_trip(value, codec)) == exact(value)


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict(a=1),
        Point(1, 2),
        Colour.RED,
        SimpleNamespace(a=1),
        object(),
        1j,
        range(3),
        msgpack.ExtType(5, b"x"),
        msgpack.Timestamp(1),
        iter([1]),
        len,
    ],
    ids=lambda v: type(v).__name__,
)
@pytest.mark.parametrize("codec", CODECS)
def test_what_would_arrive_as_something_else_is_refused(value: Any, codec: str) -> None:
    assert refusal({"a": [(0, value)]}, codec).path == "$.a[0][1]"


def test_refs_and_registered_objects_travel_in_any_place() -> None:
    value = {"ref": Ref("n/1"), "line": Line("a", 1), Line("k", 2): [{Line("s", 3), Ref("n/2")}]}
    assert round_trip(value) == value
    assert round_trip(value, "json") == value


def test_a_malformed_ref_is_one_error() -> None:
    with pytest.raises(DecodeError):
        wire.load("", b"\xc7\x01\x09x")
    with pytest.raises(DecodeError):
        serializer().__class__().load("", b"\xc7\x03\x09n/1")


@pytest.mark.parametrize(
    "data",
    [
        b"\xd4\x01t",
        b"\x92\x01\xd4\x01t",
        b"\x81\xa1a\xd4\x01t",
        b"\x92\xd4\x01t\xd4\x01s",
        b"\x91\xd4\x01x",
        b"\x91\xd4\x01o",
        b"\x93\xd4\x01o\xa1x\x80",
        b"\x93\xd4\x01o\x01\x80",
        b"\x92\xd4\x01s\x90",
        b"\x81\x90\x01",
        b"\x81\x80\x01",
        b"\xd4\x0ax",
        b"\xd4\x02z",
        b"\xd4\x08z",
        b"\xd4\x07z",
        b"\xc1",
        b"",
        b"\x01\x02",
    ],
    ids=repr,
)
def test_malformed_marks_are_one_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        wire.load("", data)


@pytest.mark.parametrize(
    "text",
    [
        b'{"$":"tuple"}',
        b'{"$":"tuple","v":1}',
        b'{"$":"tuple","v":[1],"w":2}',
        b'{"$":1,"v":2}',
        b'{"$":"nothing","v":""}',
        b'{"$":"bytes","v":"?"}',
        b'{"$":"bytes","v":1}',
        b'{"$":"float","v":"00"}',
        b'{"$":"dict","v":[[1]]}',
        b'{"$":"dict","v":[[[],1]]}',
        b'{"$":"set","v":[[]]}',
        b'{"$":"object","v":["shop.line"]}',
        b'{"\\u0024":"int","v":"0x10"}',
        b'{"$":"int","v":5}',
        b"NaN",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b"[1,]",
        b"",
        b"1 2",
    ],
    ids=repr,
)
def test_malformed_json_is_one_error(text: bytes) -> None:
    with pytest.raises(DecodeError):
        wire.load("", text, "json")


# Text that is no text --------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_lone_surrogates_are_refused_with_their_path(codec: str) -> None:
    assert refusal({"a": ["ok", "x\ud800"]}, codec).path == "$.a[1]"
    assert refusal("\udfff", codec).path == "$"
    assert "key" in refusal({"\ud800": 1}, codec).path
    for text in ("\x00", "\U0001f600", "a" * 70_000 + "\U0001f600"):
        assert round_trip([text], codec) == [text]


@pytest.mark.parametrize("data", [b"\xa2\xff\xfe", b"\xa3\xed\xa0\x80", b"\xa3\xf0\x9f\x98"])
def test_invalid_text_is_refused_not_repaired(data: bytes) -> None:
    with pytest.raises(DecodeError):
        wire.load("", data)
    with pytest.raises(DecodeError):
        wire.load("", b"\x81" + data + b"\x01")


# Depth and counts ------------------------------------------------------------

CODEC_AND_KIND = [(codec, kind) for codec in CODECS for kind in (list, tuple, frozenset)]


@pytest.mark.parametrize(("codec", "kind"), CODEC_AND_KIND)
def test_one_limit_of_depth_both_ways(codec: str, kind: Any) -> None:
    for depth in (1, 10, 127, 128):
        assert round_trip(nested(depth, kind), codec) == nested(depth, kind)
    roomy = serializer(limits=DEFAULT_LIMITS)
    roomy._check_shape = lambda tree: None  # type: ignore[method-assign]  # a sender without limits
    for depth in (129, 150):
        assert "deeper than 128" in refusal(nested(depth, kind), codec).reason
        _, body, header = roomy.dump(nested(depth, kind), codec)
        with pytest.raises(DecodeError, match="deeper than 128"):
            wire.load("", body, header)


def test_depth_of_maps_keys_and_objects() -> None:
    value: Any = 1
    for _ in range(128):
        value = {"k": value}
    assert round_trip(value) == value
    assert refusal({"k": value}).path.startswith("$.k.k.k")
    key: Any = ()
    for _ in range(126):
        key = (key,)
    assert round_trip({key: 1}) == {key: 1}
    assert "key" in refusal({((key,),): 1}).path


@pytest.mark.parametrize("header", [b"\x91", b"\x81\xa1a", b"\x92\xd4\x01t", b"\xdc\x00\x01"])
@pytest.mark.parametrize("depth", [129, 500, 1024, 1025, 100_000])
def test_deep_input_is_one_error(header: bytes, depth: int) -> None:
    with pytest.raises(DecodeError):
        wire.load("", header * depth + b"\x01")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"$":"tuple","v":['])
@pytest.mark.parametrize("depth", [400, 1025, 50_000])
def test_deep_json_is_one_error(opening: bytes, depth: int) -> None:
    with pytest.raises(DecodeError):
        wire.load("", opening * depth, "json")


def test_brackets_in_a_text_are_no_depth() -> None:
    text = "[" * 5000 + '"\\' + "{" * 5000
    assert round_trip({"t": text}, "json") == {"t": text}
    assert round_trip({"t": text.encode() * 10}) == {"t": text.encode() * 10}


@pytest.mark.parametrize("codec", CODECS)
def test_a_list_that_contains_itself_is_refused(codec: str) -> None:
    circle: list[Any] = []
    circle.append(circle)
    wide: list[Any] = []
    wide.extend([wide] * 50)
    shared: Any = []
    for _ in range(60):
        shared = [shared, shared]
    for value in (circle, wide, shared, {"a": shared}, (circle,)):
        refusal(value, codec)


SMALL_STACK = """
import threading
from irismq_runtime.errors import DecodeError, EncodeError
from irismq_runtime.wire import Serializer
wire = Serializer()
def nested(depth, kind=list):
    value = kind()
    for _ in range(depth - 1):
        value = kind([value])
    return value
circle = []
circle.append(circle)
done = []
def run():
    for kind in (list, tuple):
        _, body, _ = wire.dump(nested(128, kind))
        assert wire.load("", body) == nested(128, kind)
    for bad in (nested(600), nested(600, tuple), circle):
        try:
            wire.dump(bad)
        except EncodeError:
            done.append(1)
    for data in (b"\\x91" * 100_000 + b"\\x01", b"\\x92\\xd4\\x01t" * 100_000):
        try:
            wire.load("", data)
        except DecodeError:
            done.append(1)
threading.stack_size(96 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
print(len(done))
"""


def test_in_a_thread_with_a_small_stack() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SMALL_STACK], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "5"), ran.stderr


def test_the_count_of_elements_is_limited_both_ways() -> None:
    small = serializer(limits=WireLimits(items=100))
    fits, over = [{"a": 1}] * 33, [{"a": 1}] * 34
    type_name, body, _ = small.dump(fits)
    assert small.load(type_name, body) == fits
    with pytest.raises(EncodeError, match="100 elements"):
        small.dump(over)
    with pytest.raises(DecodeError, match="100 elements"):
        small.load("", wire.dump(over)[1])
    with pytest.raises(EncodeError, match="elements"):
        small.dump(dict.fromkeys(range(51)))


def test_a_body_over_the_limit_is_refused_both_ways() -> None:
    small = serializer(limits=WireLimits(size=2000))
    with pytest.raises(MessageTooLarge) as caught:
        small.dump(b"x" * 2000)
    assert (caught.value.size, caught.value.limit) == (2003, 2000)
    with pytest.raises(DecodeError):
        small.load("", wire.dump(b"x" * 2000)[1])


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\x7f\xff\xff\xff",
        b"\xdd\x00\x0f\x00\x00" * 1000,
        b"\xdd\x00\x00\x13\x00" * 1000,
        b"\xdc\x0b\x00" * 1000,
        b"\xdf\x00\x0f\x00\x00\x01" * 1000,
        b"\xc6\x7f\xff\xff\xff",
        b"\xdb\x7f\xff\xff\xff",
        b"\xc9\x7f\xff\xff\xff\x02",
    ],
    ids=lambda d: d[:6].hex(),
)
def test_what_is_announced_and_not_there_costs_nothing(data: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            wire.load("", data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_keys_made_to_collide_are_refused() -> None:
    step = 2**61 - 1  # the modulus of Python's hash of integers
    crafted = {index * step: 0 for index in range(300)}
    with pytest.raises(DecodeError, match="hash"):
        wire.load("", wire.dump(crafted)[1])
    with pytest.raises(DecodeError, match="hash"):
        wire.load("", wire.dump(set(crafted))[1])
    honest = {index * 7: "x" * 10 for index in range(3000)}
    assert round_trip(honest) == honest


# State -----------------------------------------------------------------------


def test_a_failed_value_leaves_nothing_behind() -> None:
    good = {"sku": "a1", "lines": [(1, 2), {3}], "n": 2**70}
    expected = wire.dump(good)
    bad = {"sku": "a1", "lines": [(1, 2), {3}, object()]}

    def alternate(_: int) -> list[Any]:
        seen = []
        for _ in range(200):
            with pytest.raises(EncodeError):
                wire.dump(bad)
            seen.append(wire.dump(good))
        return seen

    with ThreadPoolExecutor(8) as pool:
        for seen in pool.map(alternate, range(8)):
            assert all(dumped == expected for dumped in seen)


def test_one_bad_body_is_one_error_and_the_next_is_read() -> None:
    bodies = [wire.dump({"n": n})[1] for n in range(10)]
    bad = [b"\xa2\xff\xfe", b"\xc6\x7f\xff\xff\xff", bodies[0] + b"\x00", b"\x92\x01", b"\xc1"]
    for wrong in bad:
        with pytest.raises(DecodeError):
            wire.load("", wrong)
        assert [wire.load("", body) for body in bodies] == [{"n": n} for n in range(10)]


def test_a_hook_that_encodes_something_itself() -> None:
    told: list[bytes] = []

    def telling(value: object) -> str | None:
        if not isinstance(value, Ref):
            return None
        told.append(reentrant.dump({"telling": (value.text, 2**70)})[1])
        return value.text

    def asking(text: str) -> Ref:
        return Ref(str(reentrant.load("", reentrant.dump(text)[1])))

    reentrant = serializer()
    reentrant.registry._refs.clear()
    reentrant.registry.register_ref(telling, asking)
    value = {"refs": [(Ref(f"n/{index}"), {Ref("m/1")}) for index in range(5)]}
    expected = reentrant.dump(value)[1]
    told.clear()

    def work(_: int) -> bool:
        return all(
            reentrant.load("", reentrant.dump(value)[1]) == value
            and reentrant.dump(value)[1] == expected
            for _ in range(20)
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
    assert len(told) == 16 * 20 * 2 * 10


def test_a_hook_that_fails_names_the_path() -> None:
    def failing(value: object) -> str | None:
        if isinstance(value, SimpleNamespace):
            raise LookupError("no such actor")
        return None

    failing_wire = serializer()
    failing_wire.registry.register_ref(failing, unpack=Ref)
    with pytest.raises(EncodeError, match="no such actor") as caught:
        failing_wire.dump({"to": SimpleNamespace()})
    assert caught.value.path == "$.to"


# Codecs of others ------------------------------------------------------------


class Yaml:
    """A codec of somebody else, which fails as it likes."""

    name = "yaml"

    def encode(self, value: object, lower: Any) -> bytes:
        return b"%" + msgspec.json.encode(value)

    def decode_untrusted(self, data: bytes, lift: Any, limits: WireLimits) -> object:
        return msgspec.json.decode(data[1:])

    def may_exceed(self, data: bytes, limits: WireLimits) -> bool:
        return True


def test_codecs_can_be_registered_and_are_named_in_the_header() -> None:
    own = serializer(codecs=[Yaml()])
    assert own.dump([1, "a"], "yaml") == ("", b'%[1,"a"]', "yaml")
    assert own.load("", b'%[1,"a"]', "yaml") == [1, "a"]
    assert own.load("shop.line", b'%{"sku":"a","qty":1}', "yaml") == Line("a", 1)
    with pytest.raises(EncodeError):
        own.dump([object()], "yaml")


def test_an_unknown_codec_is_an_error_on_both_sides() -> None:
    with pytest.raises(EncodeError, match="no codec 'cbor'"):
        wire.dump(1, "cbor")
    with pytest.raises(DecodeError, match="no codec 'cbor'"):
        wire.load("", b"\x01", "cbor")


def test_packing_is_what_bare_msgpack_packs_for_plain_values() -> None:
    value = {"a": [1, -5, 2.5, None, True, "é", b"x" * 300], "b": {"c": "d" * 40}, 5: [0] * 20}
    assert MsgpackCodec().encode(value, wire.registry.lower) == msgpack.packb(value)


def test_dates_alone_are_dates() -> None:
    assert round_trip([date(2024, 2, 29), Decimal("-0E-10")]) == [date(2024, 2, 29), Decimal(0)]
    assert str(round_trip(Decimal("-0E-10"))) == "-0E-10"


def test_dumping_works_in_any_thread() -> None:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(round_trip({"a": (1,)})))
    thread.start()
    thread.join()
    assert result == [{"a": (1,)}]
