"""The money test, in short: some kills, and then every cent is there."""

from __future__ import annotations

import sys

import pytest

from tests.integration.processes import irismq


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("postgres")
async def test_no_cent_is_lost_or_made_on_postgresql():
    await play("postgres")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_no_cent_is_lost_or_made_on_sqlite():
    await play("sqlite")


async def play(store: str) -> None:
    options = ("--seconds", "0", "--kills", "4", "--store", store)
    code, out, said = await irismq(*options, program=(sys.executable, "tests/soak/money.py"))
    assert code == 0, out + said
    assert "transfers, each once" in out
