"""Errors: fields, text with remedy, and copies that keep both."""

from __future__ import annotations

import copy
import inspect

import pytest

from irismq_runtime import errors

SAMPLES: list[errors.RuntimeFault] = [
    errors.DeliveryError("shop.cart", "unknown", OSError("reset")),
    errors.MessageTooLarge(2_000_000, 1_048_576, limit_of="nsqd at 127.0.0.1:4150"),
    errors.MessageTooLarge(2_000_000, 1_048_576, limit_of="the broker", index=57),
    errors.EncodeError("$.lines[3].price", "a lock cannot be sent"),
    errors.DecodeError("cut short"),
    errors.UnknownFormat("unknown kind 77"),
    errors.UnknownType("shop.reserve"),
    errors.ValidationError("$.count", "Expected `int`, got `str`", type_name="shop.reserve"),
    errors.NotFresh("it came before"),
    errors.NotSigned(),
    errors.UnknownKey("2024-a"),
    errors.BadSignature("2024-a"),
    errors.NoSuchService("shop.cart"),
    errors.RemoteError("builtins.KeyError", "'sku'", "Traceback ...", address="shop.cart"),
    errors.RemoteFault("boom", cluster="shop.cart"),
    errors.NotConnected("nsqd 127.0.0.1:4150", "refused", remedy="start one with `irismq dev`"),
    errors.NodeStopped("shop"),
    errors.ConnectionLost("relay 127.0.0.1:55555", "not sent", "closed by peer"),
    errors.StoreUnavailable("sqlite:///shop.db", "full", "database or disk is full"),
    errors.ResultTimeout("0f" * 16, 5.0),
    errors.ResultExpired("0f" * 16),
    errors.TunnelTimeout("shop.cart", 3.0),
    errors.TunnelClosed("lost"),
    errors.ConfigError("nsqd", "not host:port", "write 127.0.0.1:4150"),
]


def test_every_error_has_a_sample() -> None:
    abstract = {errors.RuntimeFault, errors.SignatureError}
    declared = {
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.RuntimeFault) and member not in abstract
    }
    assert {type(sample) for sample in SAMPLES} == declared


@pytest.mark.parametrize("error", SAMPLES, ids=lambda e: type(e).__name__)
def test_a_copy_keeps_text_and_fields(error: errors.RuntimeFault) -> None:
    twin = copy.copy(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda e: type(e).__name__)
def test_text_carries_the_fields_given(error: errors.RuntimeFault) -> None:
    text = str(error).replace(",", "")
    advice = {"unknown": "may have been carried out", "not sent": "safe to try again"}
    told = {name: value for name, value in vars(error).items() if name != "exit"}
    for value in told.values():
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        assert advice.get(shown, shown).replace(",", "") in text


def test_outcome_decides_the_advice() -> None:
    unknown = str(errors.ConnectionLost("relay", "unknown"))
    not_sent = str(errors.ConnectionLost("relay", "not sent"))
    assert "only what is idempotent" in unknown
    assert "safe to try again" in not_sent


def test_what_cannot_be_decoded_is_one_family() -> None:
    family = (errors.ValidationError, errors.UnknownType, errors.NotSigned)
    assert all(issubclass(cls, errors.DecodeError) for cls in family)
    assert issubclass(errors.BadSignature, errors.SignatureError)


def test_a_remote_error_is_a_crash_to_those_who_catch_crashes() -> None:
    error = errors.RemoteError("builtins.KeyError", "'sku'", message_type="Sale", restarts=2)
    assert isinstance(error, errors.ActorCrashed)
    assert (error.exit.reason, error.exit.message_type, error.exit.restarts) == ("crash", "Sale", 2)
    assert error.exit.error is None
