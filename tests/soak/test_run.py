"""A soak run of some seconds: everything is done, sampled, drawn; too short to be judged."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.integration.processes import irismq
from tests.soak.chart import picture, rows, spark
from tests.soak.judgement import ALLOWANCES


@pytest.mark.timeout(90)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads /proc")
async def test_a_short_run(tmp_path):
    file = tmp_path / "samples"
    soak = ("--seconds", "2", "--json", str(file))
    code, out, said = await irismq(*soak, program=(sys.executable, "tests/soak/run.py"))
    assert code == 0, out + said
    assert out.splitlines()[-1] == "too short to be judged"
    samples = json.loads(file.read_text())
    assert set(samples) == {"servers", "service", "client"}
    for series in samples.values():
        assert set(series) == {"seconds", *ALLOWANCES}
        assert min(map(len, series.values())) > 0
    assert (
        len(re.findall(r"^(?:servers|service|client) +\w+ .*too short$", out, re.MULTILINE)) == 15
    )


def series(values):
    return {"seconds": list(range(len(values))), **dict.fromkeys(ALLOWANCES, values)}


def test_a_line_shows_the_way_and_where_the_judgement_begins():
    values = list(range(80))
    assert spark(range(80), values, settle=40.0, width=8) == "▁▂▃▄|▅▆▇█"
    assert spark(range(80), [5] * 80, settle=0.0, width=8) == "|▁▁▁▁▁▁▁▁"
    assert spark([], [], settle=0.0) == ""


def test_each_measure_has_its_row():
    lines = rows("client", series([100.0] * 60), settle=10.0)
    assert [line.split()[1] for line in lines] == list(ALLOWANCES)
    assert all(line.endswith(" flat") for line in lines)
    assert all(
        line.endswith(" grows") for line in rows("x", series([2.0**n for n in range(60)]), 5)
    )


def test_a_picture_is_drawn_where_matplotlib_is(tmp_path):
    drawn = picture({"client": series([1.0] * 10)}, 3.0, tmp_path / "soak.svg")
    assert drawn == (tmp_path / "soak.svg").exists()
