"""The guide speaks of every public name, and no page of one that does not exist."""

from __future__ import annotations

import builtins
import importlib
import pathlib
import re

import pytest

from tests.docs.blocks import fences
from tests.support.walk import walked

ROOT = pathlib.Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
#: Pages beside those of the site.
BESIDE = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PACKAGES = ("actors", "actors.testing", "supervisors", "irismq_runtime")
#: Packages whose names need not be in the guide.
FURTHER = tuple(
    f"irismq_runtime.{name}"
    for name in (
        "asgi",
        "blocking",
        "embedded",
        "errors",
        "mailbox",
        "observe",
        "pyiris",
        "simulation",
        "testing",
        "wire",
    )
)
EXAMPLES = set(
    re.findall(
        r"^class (\w+)",
        "\n".join(path.read_text() for path in (ROOT / "examples").rglob("*.py")),
        re.MULTILINE,
    )
)
#: Words between backticks that stand for something of the reader's.
STAND_INS = {"ActorClass", "Class", "Type", "Error", "UUID", "Decimal", "CancelledError"}
#: Names of others: of systemd, of a web framework, of pydantic, and of the standard library.
OTHERS = {
    "AnyUrl",
    "BaseModel",
    "EmailStr",
    "KillMode",
    "LimitNOFILE",
    "Litestar",
    "Pool",
    "ProcessPoolExecutor",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "RootModel",
    "SecretStr",
    "ThreadPoolExecutor",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "WatchdogSec",
}


def _name(page: pathlib.Path) -> str:
    return page.stem


def _blocks(text: str) -> str:
    return "\n".join(content for _, _, content in fences(text))


def _spans(text: str) -> list[str]:
    """What stands between backticks, outside of blocks."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", prose)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", "\n".join((_blocks(text), *_spans(text)))))


def _public(package: str) -> set[str]:
    return set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_guide(package: str) -> None:
    words = set().union(*(_words(page.read_text()) for page in GUIDE))
    assert _public(package) - words == set()


def test_every_public_name_of_pyiris_is_in_the_documents() -> None:
    words = set().union(*(_words(page.read_text()) for page in DOCS))
    assert _public("irismq_runtime.pyiris") - words == set()


def _ours(page: pathlib.Path) -> str:
    """What a page says of this package: of a table of equivalents, the right column."""
    text = page.read_text()
    if page.name not in {"coming-from.md", "from-celery.md"}:
        return text
    return "\n".join(line.strip("| ").split(" | ")[-1] for line in text.splitlines())


@walked("page", [page for page in DOCS if page.name != "protocol.md"])
def test_every_class_that_a_page_names_exists(page: pathlib.Path) -> None:
    text = _ours(page)
    known = set().union(
        *map(_public, (*PACKAGES, *FURTHER)), vars(builtins), STAND_INS, OTHERS, EXAMPLES
    )
    made = set(re.findall(r"\w+", _blocks(text)))
    spans = (re.match(r"([A-Z]\w*[a-z]\w*)(?:\W|$)", span) for span in _spans(text))
    named = {span.group(1) for span in spans if span is not None}
    assert named - known - made == set()


@walked("page", [*DOCS, *BESIDE])
def test_every_link_to_a_page_finds_it(page: pathlib.Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        if ":" in target or target.endswith("benchmarks.md"):  # made by `make bench`
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in _anchors(file.read_text()), link


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headings}


def test_the_words_of_other_systems_lead_to_a_page() -> None:
    """Also where there is no built site, which has a search."""
    rows = (ROOT / "docs" / "find.md").read_text().lower().splitlines()
    for word in ("cron", "timeout", "retry", "fastapi", "django", "celery", "kubernetes"):
        (row,) = [row for row in rows if row.startswith("|") and word in row.split("|")[1]]
        assert ".md" in row.split("|")[2]
