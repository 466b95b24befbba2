"""Who may read the page and who may act: the decision alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.observer.guard import Guard

GUARD = Guard("the-token", "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8160", "localhost:8160", "[::1]:8160", "192.168.1.7:80", "LOCALHOST:1"]
)
def test_an_address_and_localhost_are_ours(host):
    assert GUARD.refusal(host, None, None) == ""
    assert GUARD.refusal(host, f"http://{host}", "same-origin") == ""
    assert GUARD.refusal(host, None, "none") == ""


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8160", "", ":8160", "1.2.3.4.evil"])
def test_a_name_that_a_stranger_can_point_here_is_not(host):
    assert "use an address" in GUARD.refusal(host, None, None)


def test_the_host_that_was_told_is_ours():
    guard = Guard("t", "Observer.Internal")
    assert guard.refusal("observer.internal:8160", None, None) == ""
    assert guard.refusal("other.internal:8160", None, None)


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("http://evil.example", None),
        ("null", None),
        ("http://127.0.0.1:9999", None),
        ("http://127.0.0.1:8160.evil.example", None),
        (None, "cross-site"),
        (None, "same-site"),
        ("http://127.0.0.1:8160", "cross-site"),
    ],
)
def test_a_request_made_by_another_sites_page_is_refused(origin, site):
    assert "another site" in GUARD.refusal("127.0.0.1:8160", origin, site)


@given(st.one_of(st.none(), st.text()))
def test_only_the_token_may_act(given_token):
    assert GUARD.may_act(given_token) is (given_token == "the-" + "token")
    assert GUARD.may_act("the-token")


@given(st.text(), st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text()))
def test_no_header_makes_it_fail(host, origin, site):
    assert isinstance(GUARD.refusal(host, origin, site), str)
