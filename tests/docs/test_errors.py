"""docs/errors.md has every public error class, each once, and says whose fault it is."""

from __future__ import annotations

import importlib
import pathlib
import re

from irismq_runtime.errors import RuntimeFault
from tests.support.walk import walked

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "errors.md").read_text()
PACKAGES = (
    "actors",
    "actors.errors",
    "supervisors",
    "irismq_runtime",
    "irismq_runtime.errors",
    "irismq_runtime.pyiris",
    "irismq_runtime.mailbox",
    "irismq_runtime.simulation",
)
#: "`Name` | it means | whose fault | what to do |"
ROWS = re.findall(r"^\| `(\w+)` \| [^|]+ \| ?(\w*) ?\|", PAGE, re.MULTILINE)


def _public() -> dict[str, type[BaseException]]:
    found: dict[str, type[BaseException]] = {}
    for package in map(importlib.import_module, PACKAGES):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, type) and issubclass(value, BaseException):
                found[name] = value
    return found


PUBLIC = _public()


def test_every_public_error_has_one_row() -> None:
    assert sorted(name for name, _ in ROWS) == sorted(PUBLIC)


@walked(("name", "blamed"), ROWS)
def test_the_page_blames_whom_the_code_blames(name: str, blamed: str) -> None:
    error = PUBLIC[name]
    if error is RuntimeFault or not issubclass(error, RuntimeFault):
        assert blamed in {"", "caller", "peer"}
    else:
        assert blamed == error.blame
