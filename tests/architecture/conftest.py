"""What the rules of this folder have read is forgotten behind them: see sources.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.architecture.sources import forget

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package", autouse=True)
def nothing_is_kept() -> Iterator[None]:
    yield
    forget()
