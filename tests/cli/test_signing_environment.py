"""Until when commands take signatures of version 1, by their environment."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from irismq_runtime.environment import signing_of
from irismq_runtime.errors import ConfigError


@pytest.mark.parametrize("text", ["2100-01-01T00:00:00+00:00", "2100-01-01T00:00:00Z"])
def test_a_time_with_a_zone_is_taken(text: str):
    options = signing_of({"IRISMQ_OLD_SIGNATURES_UNTIL": text})
    assert options == {"old_signatures_until": datetime(2100, 1, 1, tzinfo=UTC)}


@pytest.mark.parametrize("text", ["1", "yes", "2100-01-01", "2100-01-01T00:00:00", "300"])
def test_anything_else_is_refused_by_its_name(text: str):
    with pytest.raises(ConfigError, match="IRISMQ_OLD_SIGNATURES_UNTIL"):
        signing_of({"IRISMQ_OLD_SIGNATURES_UNTIL": text})
