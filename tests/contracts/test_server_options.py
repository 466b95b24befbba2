"""Every option of the embedded servers is refused by its name where it has no meaning (174)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.embedded.relay.options import RelayOptions
from tests.support.walk import walk

SENSELESS = [-1, math.nan, math.inf, 2**63, "10MB", "", b"", [], {}, object()]
OPTIONS = [(kind, f.name) for kind in (NsqdOptions, RelayOptions) for f in dataclasses.fields(kind)]


@pytest.mark.parametrize(("kind", "name"), OPTIONS, ids=[f"{k.__name__}.{n}" for k, n in OPTIONS])
def test_what_has_no_meaning_is_refused_by_its_name(kind: Any, name: str) -> None:
    with walk() as case:
        for value in SENSELESS:
            with case(value), pytest.raises(ValueError, match=name):
                kind(**{name: value})
