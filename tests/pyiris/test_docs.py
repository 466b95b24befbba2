"""The examples of docs/pyiris.md print what the page says."""

from __future__ import annotations

import functools
import pathlib
import re
from typing import Any

import pytest

from irismq_runtime import pyiris
from irismq_runtime.embedded.relay import EmbeddedRelay

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "pyiris.md"
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_every_example_has_its_output() -> None:
    assert len(EXAMPLES) == PAGE.read_text().count("```python") >= 5


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
async def test_an_example_prints_what_the_page_says(
    example: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = EXAMPLES[example]
    async with EmbeddedRelay() as relay:
        for name in ("connect", "register"):
            at_relay = functools.partial(getattr(pyiris, name), port=relay.port)
            monkeypatch.setattr(pyiris, name, at_relay)
        namespace: dict[str, Any] = {"__name__": "an_example"}
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  # our own page
        await namespace["main"]()
    assert capsys.readouterr().out == output


def test_the_page_names_what_exists() -> None:
    named = set(re.findall(r"`pyiris\.(\w+)", PAGE.read_text()))
    assert named
    assert {name for name in named if not hasattr(pyiris, name)} == set()
