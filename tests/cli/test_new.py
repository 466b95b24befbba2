"""`irismq new`: the service that it writes passes its own tests, types and lint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from irismq_runtime import Node
from irismq_runtime.cli import codes
from irismq_runtime.cli.new import name_problem, new, render
from tests.integration.processes import irismq, running
from tests.support.nats_cluster import nats_cluster
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
NAME = "price-feed"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this interpreter in `folder`, where a service of a user stands."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def service(tmp_path: Path) -> Path:
    new(NAME, into=tmp_path)
    return tmp_path / NAME


async def test_its_tests_run(tmp_path: Path) -> None:
    code, out, said = await irismq("new", NAME, "--into", str(tmp_path))
    service = tmp_path / NAME
    assert (code, out) == (codes.OK, "")
    assert said == f"made {service}: cd {service} && cat README.md\n"
    done = run(service, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


@pytest.mark.slow
def test_its_types_and_its_style_are_clean(service: Path) -> None:
    for command in (
        ("mypy", "--cache-dir", os.devnull),
        ("ruff", "check"),
        ("ruff", "format", "--check"),
    ):
        done = run(service, *command)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_its_tree_is_run_by_the_command_line(service: Path) -> None:
    arguments = ("run", "price_feed.service:Tree", "--embedded")
    async with running(*arguments, PYTHONPATH=str(service)) as process:
        await process.says(" runs")


def scaled(service: Path) -> dict[str, Any]:
    """What Compose starts so often as it is told."""
    found: dict[str, Any] = yaml.safe_load((service / "compose.yaml").read_text())["services"][NAME]
    return found


def test_nothing_in_its_compose_file_is_there_for_one_container_alone(service: Path) -> None:
    compose = yaml.safe_load((service / "compose.yaml").read_text())
    one = scaled(service)
    assert not one.keys() & {"container_name", "hostname", "ports", "volumes", "network_mode"}
    assert set(one["depends_on"]) == compose["services"].keys() - {NAME}
    for value in one["environment"].values():
        host = value.rpartition("//")[2].partition(":")[0]
        assert host in compose["services"]
    image = (service / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["irismq"]' in image
    extra = re.search(r"/src\[(\w+)\]", image)
    assert extra is not None
    project = tomllib.loads((service / "pyproject.toml").read_text())["project"]
    assert extra[1] in project["optional-dependencies"]


@pytest.mark.slow
async def test_three_of_its_containers_are_three_nodes_of_one_service(service: Path) -> None:
    one = scaled(service)
    async with nsqd_server("embedded") as nsqd, nats_cluster(1) as nats, AsyncExitStack() as stack:
        places = {"nsqd:4150": f"127.0.0.1:{nsqd.port}", "nsqd:4151": f"127.0.0.1:{nsqd.http_port}"}
        iris = one["environment"]["IRISMQ_IRIS_ADDRESS"]
        places[iris] = nats.urls[0]
        environment = {name: places[value] for name, value in one["environment"].items()}
        # A container has a network of its own, and so that port.
        command = [each for each in one["command"] if not each.startswith("--status=")]
        for _ in range(3):
            process = running(*command, PYTHONPATH=str(service), **environment)
            await (await stack.enter_async_context(process)).says(" runs")
        async with Node(name="test", nsqd=places["nsqd:4150"], iris=nats.urls[0]) as node:
            await until(lambda: len(node.members("price_feed")) == 3, "three members")
            assert len({each.node for each in node.members("price_feed")}) == 3


def test_what_exists_is_not_touched(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in service.rglob("*") if path.is_file()}
    with pytest.raises(typer.Exit) as ended:
        new(NAME, into=service.parent)
    assert ended.value.exit_code == codes.USAGE
    assert "exists already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in service.rglob("*") if path.is_file()} == before
    assert [path.name for path in service.parent.iterdir()] == [NAME]


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(typer.Exit) as ended:
        new(NAME, into=tmp_path / "file")
    assert ended.value.exit_code == codes.FAILED
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["shop", "price-feed", "a1", "x_y", "z9-b-c"])
def test_names_of_services(name: str) -> None:
    assert name_problem(name) == ""
    files = render(name)
    assert f"{name.replace('-', '_')}/service.py" in files
    assert not any("$" in text for text in files.values())
    for place, text in files.items():
        if place.endswith(".py"):
            compile(text, place, "exec")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "a letter first"),
        ("Shop", "use a-z"),
        ("1shop", "a letter first"),
        ("shop-", "between them"),
        ("sh op", "use a-z"),
        ("../shop", "use a-z"),
        ("shop\n", "use a-z"),
        ("é", "use a-z"),
        ("x" * 41, "40 are the most"),
        ("class", "Python has this word"),
        ("match", "Python has this word"),
        ("json", "something else"),
        ("actors", "something else"),
        ("irismq-runtime", "something else"),
        ("tests", "something else"),
        ("pytest", "can be imported here already"),
    ],
)
def test_names_that_are_none(name: str, problem: str) -> None:
    assert problem in name_problem(name)
