"""`irismq doctor`: faults planted for real, each named in a line of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from irismq_runtime.cli import codes
from irismq_runtime.cli.doctor.machine import look_at_names
from irismq_runtime.cli.probes import LIMIT, examine, targets
from irismq_runtime.cli.server_identification import ServerKind
from irismq_runtime.config import Endpoint
from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.errors import ConfigError
from tests.cli.fakes import black_hole, nowhere, saying, web
from tests.support.nats_stub import nats_stub

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
LOOKUPD_REFUSAL = b"\x00\x00\x00\x0eE_BAD_PROTOCOL"
#: Seconds in which a server must answer, for machines that are busy with other tests.
PATIENT = 6
NSQD_INFO = '{"version":"1.3.0","tcp_port":4150,"http_port":4151}'


def distribution(site: Path, name: str, top_level: str) -> None:
    """Install a distribution as pip would record it, without its code."""
    folder = site / f"{name}-9.9.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    (folder / "top_level.txt").write_text(f"{top_level}\n")


async def doctor(*arguments: str, folder: Path, site: Path, **environment: str) -> tuple[int, str]:
    """Run it in `folder`, with `site` first on the path and few files; code and output."""
    shell = f'ulimit -n 256; exec "$0" -P -m irismq_runtime.cli doctor --timeout {PATIENT} "$@"'
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        shell,
        sys.executable,
        *arguments,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@contextlib.asynccontextmanager
async def servers() -> Any:
    nsqd, relay = EmbeddedNsqd(), EmbeddedRelay()
    await nsqd.start()
    await relay.start()
    try:
        yield (
            f"127.0.0.1:{nsqd.port}",
            f"127.0.0.1:{nsqd.http_port}",
            f"127.0.0.1:{relay.port}",
        )
    finally:
        await relay.stop()
        await nsqd.stop()


async def test_all_is_well(tmp_path: Path) -> None:
    async with servers() as (nsqd, http, relay):
        flags = ("--nsqd", nsqd, "--nsqd-http", http, "--iris", relay, "--json")
        code, out = await doctor(*flags, folder=tmp_path, site=tmp_path)
    report = json.loads(out)
    by_name = {finding["about"]: finding for finding in report["findings"]}
    assert by_name[nsqd]["text"] == f"{nsqd}: nsqd 1.3.0+irismq"
    assert by_name[relay]["text"] == f"{relay}: an Iris relay v1.0-draft2"
    assert {by_name[where]["level"] for where in (nsqd, http, relay, f"clock {http}")} == {"ok"}
    bad = {name for name, finding in by_name.items() if finding["level"] in {"warn", "bad"}}
    assert bad - {"uvloop", "msgpack"} == {"files"}  # planted by the ulimit of `doctor`
    assert (code, report["code"]) == (codes.FAILED, codes.FAILED)


async def test_each_planted_fault_is_named_in_its_own_line(tmp_path: Path) -> None:
    """Case 127, and the ten faults: these are more, of servers and of this machine."""
    site, folder = tmp_path / "site", tmp_path / "folder"
    distribution(site, "pyiris", "pyiris")
    distribution(site, "actors", "actors")
    (site / "uvloop.py").write_text("raise ImportError('built for another libc')\n")
    folder.mkdir()
    (folder / "supervisors.py").write_text("")
    async with contextlib.AsyncExitStack() as stack:
        nsqd, http, relay = await stack.enter_async_context(servers())
        ssh = await stack.enter_async_context(saying(b"SSH-2.0-OpenSSH_9.2\r\n"))
        silent = await stack.enter_async_context(saying(b""))
        tls = await stack.enter_async_context(saying(b"\x15\x03\x01\x00\x02\x02\x46"))
        hole = stack.enter_context(black_hole())
        shop = await stack.enter_async_context(saying(web({"/": "a shop"})))
        full = web({"/ping": "NOK - no space left on device", "/info": NSQD_INFO})
        ill = await stack.enter_async_context(saying(full))
        late = web({"/ping": "OK", "/info": NSQD_INFO}, ahead=-3600.0)
        slow = await stack.enter_async_context(saying(late))
        closed, listed = nowhere(), nowhere()
        known = json.dumps(
            {
                "producers": [
                    {
                        "broadcast_address": listed.split(":")[0],
                        "tcp_port": int(listed.split(":")[1]),
                    }
                ]
            }
        )
        pages = {"/ping": "OK", "/info": '{"version":"1.3.0"}', "/nodes": known}
        lookupd = await stack.enter_async_context(saying(web(pages)))
        lookupd_tcp = await stack.enter_async_context(saying(LOOKUPD_REFUSAL))
        host = "no.such.host.invalid:4150"
        flags = [
            *(f"--nsqd={where}" for where in (http, relay, ssh, silent, tls, hole, host, closed)),
            *(f"--nsqd-http={where}" for where in (nsqd, shop, ill, slow)),
            *(f"--lookupd={where}" for where in (lookupd, lookupd_tcp)),
            f"--iris={nsqd}",
        ]
        began = time.monotonic()
        code, out = await doctor(
            *flags, folder=folder, site=site, IRISMQ_NSQD="broker:4150", MSGPACK_PUREPYTHON="1"
        )
        seconds = time.monotonic() - began
        print(f"{len(flags)} targets took {seconds:.1f} s")  # noqa: T201  # measured: -rP
    planted = [
        f"{http} should be nsqd, but there is nsqd's HTTP; give nsqd's TCP port here",
        f"{relay} should be nsqd, but there is an Iris relay; this is the relay",
        f"{ssh} should be nsqd, but there is something else, which says 'SSH-2.0-OpenSSH_9.2",
        f"{silent} should be nsqd, but there is something that says nothing",
        f"{tls} should be nsqd, but there is something else, which says it wants TLS",
        f"{hole} should be nsqd, but there is nothing: the connection is not answered",
        f"{host} should be nsqd, but there is nothing: the host 'no.such.host.invalid' is not",
        f"{closed} should be nsqd, but there is nothing: Connection refused; start one",
        f"{nsqd} should be nsqd's HTTP, but there is nsqd; give nsqd's HTTP port here",
        f"{shop} should be nsqd's HTTP, but there is an HTTP server that is not nsqd",
        f"{ill}: nsqd's HTTP says NOK - no space left on device; look at",
        f"the clock of {slow} is 3,",  # 3,600 s less what the answer took
        f"{lookupd} lists a broker at {listed}, but there is nothing: Connection refused",
        f"{lookupd_tcp} should be nsqlookupd's HTTP, but there is nsqlookupd's TCP",
        f"{nsqd} should be an Iris relay, but there is nsqd; this is the broker",
        "the package actors is also installed by actors, which is unrelated; pip uninstall",
        "`import pyiris` gives pyiris of PyPI, which is unrelated; ours is irismq_runtime.pyiris",
        f"{folder}/supervisors.py hides our package supervisors from programs that start",
        "is installed, but the event loop is asyncio",
        "runs without its C part (msgpack.fallback); unset MSGPACK_PUREPYTHON",
        "a process may have 256 files open, enough for some 96 actors with addresses",
        "IRISMQ_NSQD is set to an address, and is not read",
    ]
    lines = out.splitlines()
    for fault in planted:
        named = [line for line in lines if fault in line]
        assert len(named) == 1, f"{fault!r} is named in {named} of\n{out}"
        assert not named[0].startswith("ok")
    assert code == codes.UNREACHABLE


async def test_a_shadowed_package_is_named_by_every_command(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "actors").mkdir(parents=True)
    (site / "actors" / "__init__.py").write_text("")
    code, out = await doctor(folder=tmp_path, site=site)
    assert out == (
        f"irismq: `import actors` gives {site}/actors/__init__.py, which is not ours; "
        "rename it, or take it off the path\n"
    )
    assert code == codes.USAGE


async def test_nats_is_looked_at_where_iris_names_it(tmp_path: Path) -> None:
    async with servers() as (nsqd, http, relay), nats_stub(version="2.12.2") as stub:
        nats = f"127.0.0.1:{stub.port}"
        wanted = ("--nsqd", nsqd, "--nsqd-http", http, "--json")
        _, out = await doctor(
            *wanted, "--iris", f"nats://user:secret@{nats},{relay}", folder=tmp_path, site=tmp_path
        )
    by_name = {finding["about"]: finding for finding in json.loads(out)["findings"]}
    assert by_name[nats]["text"] == f"{nats}: a NATS server 2.12.2"
    assert by_name[relay]["text"].endswith("should be a NATS server, but there is an Iris relay")
    assert by_name["nats-py"]["level"] == "ok"
    assert "secret" not in out
    assert [login["pass"] for login in stub.logins] == ["secret"]


async def test_a_name_server_that_hangs_holds_nobody_up() -> None:
    hangs = threading.Event()

    def resolver(*_: object, **__: object) -> Any:
        hangs.wait()
        raise OSError("too late")

    began = time.monotonic()
    answer = await examine(Endpoint("slow.example", 4150), resolver=resolver)
    hangs.set()
    seconds = time.monotonic() - began
    print(f"given up after {seconds:.1f} s of {LIMIT:.1f}")  # noqa: T201  # measured: -rP
    assert answer.kind is ServerKind.NOTHING
    assert "the name server does not answer" in answer.reason


async def test_a_server_that_accepts_and_says_nothing_holds_nobody_up() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        answer = await examine(Endpoint(*mute.getsockname()))
    assert answer.kind is ServerKind.SILENT
    assert LIMIT < 3.0


async def test_an_address_without_meaning_is_one_line(tmp_path: Path) -> None:
    code, out = await doctor("--nsqd", "broker:port", folder=tmp_path, site=tmp_path)
    assert code == codes.USAGE
    assert "'port' is not a port" in out
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize("option", ["nsqd", "nsqd_http", "lookupd", "iris"])
def test_every_option_is_checked(option: str) -> None:
    right: dict[str, Any] = {"nsqd": ["a"], "nsqd_http": ["a"], "lookupd": ["a"], "iris": "a"}
    assert [str(place.endpoint) for place in targets(**right)] == [
        "a:4150",
        "a:4151",
        "a:4161",
        "a:55555",
    ]
    with pytest.raises(ConfigError, match="is not a port"):
        targets(**{**right, option: "a:b" if option == "iris" else ["a:b"]})


def test_who_else_has_a_name_of_ours_is_found_as_importlib_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {
        "actors-1.0": {"RECORD": "actors/__init__.py,,\nactors_more/x.py,,\n"},
        "single-1.0": {"RECORD": "supervisors.py,sha256=x,1\n../bin/actors,,\n"},
        "declared-1.0": {"top_level.txt": "pyiris\nother\n", "RECORD": "actors/x.py,,\n"},
        "none-1.0": {"RECORD": "lib/actors/x.py,,\nactors.txt,,\n"},
    }
    for place, files in places.items():
        folder = tmp_path / f"{place}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {place[:-4]}\n")
        for name, text in files.items():
            (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    claimed = look_at_names().claimed
    assert claimed == {"actors": ("actors",), "supervisors": ("single",), "pyiris": ("declared",)}
    known = importlib.metadata.packages_distributions()
    for name, others in claimed.items():
        assert set(known[name]) - {"irismq-runtime"} == set(others)
