"""The list of reasons for which a test may be skipped is closed."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.sources import ROOT, TESTS, nodes
from tests.support.skips import KINDS, kind_of, tally


def test_skips_are_counted_by_kind_and_a_new_reason_is_not_ok():
    known = ["no Go here", "no Chromium: neither", "no go on PATH"]
    ledger = tally(known)
    assert ledger.ok
    assert ledger.counts == {"chromium": 1, "go": 2}
    assert not tally([*known, "the moon is full"]).ok
    assert tally(["the moon is full"]).lines() == [
        "skipped for a reason of no known kind: the moon is full"
    ]


def test_a_kind_that_must_run_may_not_be_skipped():
    ledger = tally(["no Chromium: neither"], must_run="chromium go")
    assert not ledger.ok
    assert ledger.lines()[-1] == "IRISMQ_NO_SKIPS forbids: chromium: no Chromium: neither"
    with pytest.raises(ValueError, match="not kinds of skips: chromiun"):
        tally([], must_run="chromiun")


def _reasons() -> list[tuple[str, str]]:
    """Every literal reason that stands in a test or its support, and its place."""
    found = []
    for path in TESTS:
        for node in nodes(path, ast.Call):
            if not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            reason: ast.expr | None = None
            if called == "pytest.skip" and node.args:
                reason = node.args[0]
            elif called in {"pytest.mark.skipif", "pytest.importorskip"}:
                reason = next((k.value for k in node.keywords if k.arg == "reason"), None)
                assert reason is not None, f"{path}:{node.lineno}: a skip without a reason"
            if reason is not None:
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", _literal(reason)))
    return found


def _literal(reason: ast.expr) -> str:
    """The text of a reason; what a formatted one fills in is a `0`."""
    if isinstance(reason, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "0" for part in reason.values
        )
    return str(ast.literal_eval(reason))


def test_every_reason_in_the_suite_is_of_a_known_kind():
    reasons = _reasons()
    assert len(reasons) > len(KINDS)
    assert [place for place, reason in reasons if kind_of(reason) is None] == []
