"""Every option of the embedded servers is refused by its name where it has no meaning (174)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.embedded.relay.options import RelayOptions

SENSELESS = [-1, math.nan, math.inf, 2**63, "10MB", "", b"", [], {}, object()]
OPTIONS = [(kind, f.name) for kind in (NsqdOptions, RelayOptions) for f in dataclasses.fields(kind)]


@pytest.mark.parametrize(("kind", "name"), OPTIONS, ids=[f"{k.__name__}.{n}" for k, n in OPTIONS])
@pytest.mark.parametrize("value", SENSELESS, ids=lambda value: repr(value)[:12])
def test_what_has_no_meaning_is_refused_by_its_name(kind: Any, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        kind(**{name: value})
