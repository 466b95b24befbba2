"""The files by which services are run elsewhere say what the command line understands.

Nothing is started: the compose file, the Dockerfile, and the systemd unit and the manifests
of docs/operations.md are read, and compared with the options, trees and codes there are.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import irismq_runtime.embedded.nsqd  # noqa: F401  # read from disk before a loop runs
from irismq_runtime.cli import codes
from irismq_runtime.cli.main import app
from irismq_runtime.node import shutdown
from tests.integration.processes import irismq

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
NODES = ["warehouse", "counter"]
OURS = ["relay", *NODES]
COMMANDS: Any = typer.main.get_command(app)
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

#: What a service may have, of the Compose specification.
KEYS = {
    "build", "command", "depends_on", "healthcheck", "image", "network_mode", "restart",
    "stop_grace_period", "volumes",
}  # fmt: skip


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and its parameters, as the command line reads them."""
    context = COMMANDS.make_context("irismq", ["--", *arguments], resilient_parsing=False)
    name, command, rest = COMMANDS.resolve_command(context, arguments)
    return name, command.make_context(name, list(rest)).params


def longest_end(drain: float) -> float:
    """The sum of what the phases of an end take at most, without embedded servers."""
    short, grace = shutdown.SHORT, shutdown.GRACE
    return short + 3 * (drain + grace) + 2 * (short + grace)


def seconds(text: str) -> float:
    return float(re.fullmatch(r"(\d+)s?", text).group(1))  # type: ignore[union-attr]  # else it fails


def test_the_file_has_what_compose_knows():
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"services", "volumes"}
    for name, service in SERVICES.items():
        assert set(service) <= KEYS, name
        assert ("image" in service) != ("build" in service), name
        needs = service.get("depends_on", [])
        assert set(needs) <= set(SERVICES), name
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"], name
        if "network_mode" in service:
            assert service["network_mode"] == "service:relay"
            assert needs["relay"]
        for need, how in needs.items() if isinstance(needs, dict) else ():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[need]


def test_images_have_versions():
    images = {service["image"] for service in SERVICES.values() if "image" in service}
    assert images == {"nsqio/nsq:v1.3.0"}


@pytest.mark.parametrize("name", OURS)
def test_what_runs_our_image_is_a_command_that_exists(name):
    build = SERVICES[name]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()
    command, options = parsed(SERVICES[name]["command"])
    assert command == ("run" if name in NODES else "relay")
    for address in (*options.get("nsqd", ()), *options.get("lookupd", ())):
        assert address.split(":")[0] in SERVICES


@pytest.mark.parametrize("name", NODES)
@pytest.mark.blocking_ok  # the command is imported when it is first looked at
async def test_a_node_runs_a_tree_that_exists_and_has_time_to_end(name):
    _, options = parsed(SERVICES[name]["command"])
    # In a process of its own, as in the container: other tests have messages of these names.
    module, _, tree = options["tree"].partition(":")
    program = (sys.executable, "-c", f"import {module}; print({module}.{tree}.__name__)")
    code, out, said = await irismq(program=program, PYTHONPATH=str(ROOT / "examples"))
    assert (code, out.strip()) == (0, tree), said
    assert seconds(SERVICES[name]["stop_grace_period"]) >= longest_end(options["drain"])
    assert f"//{options['status']}/live" in SERVICES[name]["healthcheck"]["test"][-1]


def test_nodes_of_one_network_namespace_have_their_own_status_ports():
    ports = [parsed(SERVICES[name]["command"])[1]["status"] for name in NODES]
    assert len(set(ports)) == len(NODES)


def test_the_image_runs_irismq_itself_and_not_as_root():
    lines = [
        line.split(None, 1)
        for line in (FOLDER / "Dockerfile").read_text().splitlines()
        if line and not line.startswith(("#", " "))
    ]
    said: dict[str, list[str]] = {}
    for word, rest in lines:
        said.setdefault(word, []).append(rest)
    assert json.loads(said["ENTRYPOINT"][0]) == ["irismq"]
    assert said["USER"] == ["shop"]
    (version,) = (image.split(":")[1] for image in said["FROM"])
    assert version.startswith("3.11")
    for copied in said["COPY"]:
        *sources, _ = copied.split()
        assert all((ROOT / source).exists() for source in sources), copied
    extras = re.search(r"/src\[([\w,]+)\]", said["RUN"][0])
    assert extras is not None
    declared = (ROOT / "pyproject.toml").read_text()
    for extra in extras.group(1).split(","):
        assert re.search(rf"^{extra} = \[", declared, re.MULTILINE), extra


def unit() -> configparser.ConfigParser:
    """The systemd unit in the documentation."""
    block = re.search(r"^    \[Unit\]\n(?:    .*\n|\n)+", OPERATIONS, re.MULTILINE)
    assert block is not None
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
    parser.read_string(re.sub(r"^ {4}", "", block.group(0), flags=re.MULTILINE))
    return parser


def manifests() -> dict[str, Any]:
    """What stands in the documentation for Kubernetes, by its kind."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    blocks = re.findall(r"^    apiVersion: .*\n(?:    .*\n)+", page, re.MULTILINE)
    found = [yaml.safe_load(re.sub(r"^ {4}", "", block, flags=re.MULTILINE)) for block in blocks]
    return {manifest["kind"]: manifest for manifest in found}


def test_the_deployment_fits_what_irismq_does():
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, options = parsed(container["args"])
    assert command == "run"
    assert pod["terminationGracePeriodSeconds"] >= longest_end(options["drain"])
    (port,) = container["ports"]
    assert options["status"].endswith(f":{port['containerPort']}")
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["port"] for probe in probes} == {port["name"]}
    assert [probe["httpGet"]["path"] for probe in probes] == ["/ready", "/ready", "/live"]
    start = probes[0]["periodSeconds"] * probes[0]["failureThreshold"]
    assert start > options["connect_timeout"]
    context = COMMANDS.make_context("irismq", ["--", "run"], resilient_parsing=False)
    run = COMMANDS.resolve_command(context, ["run"])[1]
    known = {each.envvar for each in run.params} | {"IRISMQ_KEYS"}
    assert {variable["name"] for variable in container["env"]} <= known


def test_the_cron_job_tells():
    job = manifests()["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    command, options = parsed(job["containers"][0]["args"])
    assert (command, options["address"]) == ("tell", "shop.reports")


def test_the_systemd_unit_fits_what_irismq_does():
    service = unit()["Service"]
    assert service["Type"] == "notify"
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/irismq")
    command, options = parsed(arguments)
    assert command == "run"
    assert seconds(service["TimeoutStopSec"]) >= longest_end(options["drain"])
    assert seconds(service["TimeoutStartSec"]) > options["connect_timeout"]
    assert seconds(service["WatchdogSec"]) >= 10
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == str(codes.USAGE)
    assert service["KillMode"] == "mixed"
    assert service["NotifyAccess"] == "main"
