"""The tables that decide what becomes of a stored message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Outcome, Overloaded, Refused, Reject, Retry
from irismq_runtime.dispatch.settlement import (
    EARLY,
    FINISH,
    GIVE_BACK,
    HANDLE,
    NO_ROOM,
    AttemptLimits,
    Settlement,
    admission,
    hops,
    settlement,
)

LIMITS = AttemptLimits(max_attempts=3, max_delay=3600.0)
BOOM = ValueError("boom")


@pytest.mark.parametrize(
    ("outcome", "attempts", "expected"),
    [
        (Outcome("replied", value=1), 1, FINISH),
        (Outcome("replied"), 9, FINISH),
        (Outcome("crashed", error=BOOM), 1, Settlement("requeue", None, penalty=True)),
        (Outcome("crashed", error=BOOM), 2, Settlement("requeue", None, penalty=True)),
        (Outcome("crashed", error=BOOM), 3, Settlement("bury", reason="crashed: ValueError: boom")),
        (
            Outcome("retry", error=Retry(2.0), retry_after=2.0),
            1,
            Settlement("requeue", 2.0, penalty=True),
        ),
        (
            Outcome("retry", error=Retry(penalty=False), penalty=False),
            1,
            Settlement("requeue", None, penalty=False),
        ),
        (
            Outcome("reject", error=Reject("bad sku")),
            1,
            Settlement("bury", reason="rejected: Reject: bad sku"),
        ),
        (
            Outcome("refused", error=Refused("no")),
            1,
            Settlement("bury", reason="refused: Refused: no"),
        ),
        (
            Outcome("refused", error=Overloaded("passed on to somebody full")),
            3,
            NO_ROOM,
        ),
        (Outcome("expired"), 1, Settlement("finish", reason="expired")),
        (Outcome("dead"), 1, GIVE_BACK),
        (Outcome("cancelled"), 1, GIVE_BACK),
    ],
)
def test_the_table_of_settlements(outcome, attempts, expected):
    assert settlement(outcome, attempts=attempts, allowed=LIMITS.max_attempts) == expected


def test_a_retry_on_the_last_attempt_is_buried_with_its_reason():
    verdict = settlement(Outcome("retry", error=Retry(1.0), retry_after=1.0), attempts=3, allowed=3)
    assert verdict.action == "bury"
    assert verdict.reason.startswith("gave up after retries: Retry")


@given(
    kind=st.sampled_from(
        ["replied", "refused", "crashed", "retry", "reject", "expired", "dead", "cancelled"]
    ),
    attempts=st.integers(1, 20),
    allowed=st.integers(1, 20),
    text=st.text(max_size=50),
)
def test_only_what_was_handled_or_is_past_help_leaves_the_broker(kind, attempts, allowed, text):
    verdict = settlement(
        Outcome(kind, error=RuntimeError(text)), attempts=attempts, allowed=allowed
    )
    if verdict.action == "finish":
        assert kind in {"replied", "expired"}
    if verdict.action == "bury":
        assert verdict.reason
        assert "\n" not in verdict.reason
    if kind in {"crashed", "retry"}:
        assert (verdict.action == "bury") == (attempts >= allowed)


def admit(**given_):
    values = {
        "attempts": 1,
        "now": 1000.0,
        "stored": 1000.0,
        "due": None,
        "expires": None,
        "limits": LIMITS,
    }
    return admission(**{**values, **given_})


def test_a_message_that_killed_its_process_stops_before_the_handler():
    assert admit(attempts=3) == HANDLE
    verdict = admit(attempts=4)
    assert verdict.action == "bury"
    assert "4 times" in verdict.reason


def test_a_message_before_its_due_time_is_sent_away_for_what_is_left():
    verdict = admit(due=1060.0)
    assert (verdict.action, verdict.delay) == ("requeue", 60.0)
    assert admit(due=1000.0 + EARLY / 2) == HANDLE
    assert admit(due=999.0) == HANDLE


def test_a_far_due_time_is_reached_in_hops_the_broker_can_keep():
    verdict = admit(due=1000.0 + 7200.0)
    assert (verdict.action, verdict.delay) == ("requeue", 3600.0)


def test_an_expired_message_is_finished_without_a_handler():
    verdict = admit(expires=1000.0)
    assert (verdict.action, verdict.reason) == ("finish", "expired")
    assert admit(expires=1000.1) == HANDLE


@given(span=st.floats(0.001, 1e5), max_delay=st.floats(600.0, 3600.0))
def test_hops_never_take_the_attempts_of_a_deferred_event(span, max_delay):
    """Sent away by REQ until due, it is still handled `max_attempts` times."""
    limits = AttemptLimits(max_attempts=2, max_delay=max_delay)
    due, now, attempts = 1000.0 + span, 1000.0 + min(span, max_delay), 1
    for _ in range(hops(due, 1000.0, max_delay)):
        verdict = admission(
            attempts=attempts,
            now=now,
            stored=1000.0,
            due=due,
            expires=None,
            limits=limits,
            counts_hops=True,
        )
        if verdict.action == "handle":
            break
        assert verdict.action == "requeue"
        now += verdict.delay
        attempts += 1
    last = admission(
        attempts=attempts + 1,
        now=due,
        stored=1000.0,
        due=due,
        expires=None,
        limits=limits,
        counts_hops=True,
    )
    assert last == HANDLE
