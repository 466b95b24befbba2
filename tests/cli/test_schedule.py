"""`irismq schedule`: what is set is seen in the store, and changed by the node that has it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from irismq_runtime import Node
from irismq_runtime.cli import codes
from irismq_runtime.cli.schedule import app
from tests.schedules.helpers import Chime, Heard, Tower

if TYPE_CHECKING:
    from pathlib import Path


async def test_schedules_are_listed_shown_paused_resumed_run_and_removed(tmp_path: Path):
    async with Node.embedded(data=tmp_path, drain=0.5) as node:
        environment = {
            "IRISMQ_STORE": f"sqlite:///{tmp_path / 'state.db'}",
            "IRISMQ_NSQD_ADDRESS": node.endpoints["nsqd"],
            "IRISMQ_IRIS_ADDRESS": node.endpoints["iris"],
        }

        async def run(*arguments: str, code: int = codes.OK) -> Any:
            runner = CliRunner()
            ended = await asyncio.to_thread(runner.invoke, app, [*arguments], env=environment)
            assert ended.exit_code == code, ended.output
            return ended

        await node.start(Tower)
        tower = node.ref("test.tower")
        assert json.loads((await run("list", "--json")).stdout) == []
        await node.schedules.add("nightly", Chime(), to=tower, cron="0 3 * * *", tz="UTC")
        await node.schedules.add("slow", Chime(), to=tower, every=3600.0)
        listed = json.loads((await run("list", "--json")).stdout)
        assert [each["name"] for each in listed] == ["nightly", "slow"]
        assert [each["when"] for each in listed] == ["0 3 * * * UTC", "every 3600 s"]
        assert "paused: nightly" in (await run("pause", "nightly")).stderr
        assert "paused already" in (await run("pause", "nightly")).stderr
        shown = json.loads((await run("show", "nightly")).stdout)
        assert (shown["paused"], shown["next"], shown["to"]) == (True, "paused", "test.tower")
        assert "resumed: nightly" in (await run("resume", "nightly")).stderr
        await run("run", "nightly")
        while not (await tower.ask(Heard())).heard:
            pass
        await run("remove", "nightly", "--yes")
        listed = json.loads((await run("list", "--json")).stdout)
        assert [each["name"] for each in listed] == ["slow"]
        for arguments, code, text in (
            (("show", "none"), codes.FAILED, "no schedule 'none'"),
            (("pause", "none"), codes.FAILED, "no schedule 'none'"),
            (("remove", "none", "--yes"), codes.FAILED, "no schedule 'none'"),
            (("run", ""), codes.USAGE, "256"),
        ):
            assert text in (await run(*arguments, code=code)).stderr
