"""What the embedded nsqd has confirmed it keeps: kills, cuts, full disks, two owners."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.testing import ManualClock
from irismq_runtime.embedded.nsqd import (
    DataDirectoryError,
    DirectoryInUse,
    EmbeddedNsqd,
    NsqdOptions,
)
from irismq_runtime.embedded.nsqd.data_folder import DiskFolder
from irismq_runtime.embedded.nsqd.journal import JournalRecord
from irismq_runtime.embedded.nsqd.reserve import Reserve
from irismq_runtime.embedded.nsqd.store import Store, WriteBatch, runs
from irismq_runtime.protocols import nsq
from tests.support.nsq_client import nsq_client
from tests.support.nsqd_http import call, channel_stats, stats, topic_stats
from tests.support.nsqd_process import nsqd_process
from tests.support.nsqd_server import nsqd_server


async def take_all(port: int, topic: str, channel: str, expected: set[bytes]) -> list[bytes]:
    """FINish messages until all that is expected has come; what came, in order."""
    got: list[bytes] = []
    async with nsq_client(port) as client:
        await client.subscribe(topic, channel, ready=500)
        missing = set(expected)
        while missing:
            message = await client.message()
            client.send(nsq.fin(message.id))
            got.append(message.body)
            missing.discard(message.body)
        await client.synced_around_messages()
    return got


# -- kills ------------------------------------------------------------------------


async def test_a_thousand_confirmed_fifty_in_flight_and_a_kill(tmp_path):
    sent = {b"%d" % number for number in range(1000)}
    async with nsqd_process(tmp_path) as server, nsq_client(server.port) as client:
        await client.subscribe("t", ready=50)
        async with nsq_client(server.port) as publisher:
            assert await publisher.ask(nsq.mpub("t", sorted(sent))) == b"OK"
        await client.messages(50)
        await server.kill()
    async with nsqd_process(tmp_path) as server:
        assert sorted(await take_all(server.port, "t", "ch", sent)) == sorted(sent)


# -- restarts -----------------------------------------------------------------------


async def test_what_was_finished_is_gone_and_the_rest_is_there_after_a_restart(tmp_path):
    async with nsqd_server("embedded", data=tmp_path) as server:
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=1)
            assert await client.ask(nsq.mpub("t", [b"1", b"2", b"3"])) == b"OK"
            first = await client.message()
            client.send(nsq.req(first.id, 0))
            again = [await client.message()]
            client.send(nsq.fin(again[0].id))
            await client.synced_around_messages()
        await server.restart()
        rest = {b"1", b"2", b"3"} - {again[0].body}
        assert set(await take_all(server.port, "t", "ch", rest)) == rest
        await server.restart()
        assert (await channel_stats(server, "t", "ch"))["depth"] == 0


async def test_attempts_are_kept_over_a_restart(tmp_path):
    async with nsqd_server("embedded", data=tmp_path) as server:
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=1)
            assert await client.ask(nsq.pub("t", b"x")) == b"OK"
            for _ in range(3):
                client.send(nsq.req((await client.message()).id, 0))
            client.send(nsq.rdy(0))
            await client.message()
        await server.restart()
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=1)
            assert (await client.message()).attempts == 5  # four came, as on nsqd


async def test_a_deferred_message_keeps_its_due_time_over_a_kill(tmp_path):
    clock = ManualClock()
    async with nsqd_server("embedded", data=tmp_path, clock=clock) as server:
        async with nsq_client(server.port) as client:
            await client.subscribe("t")
            assert await client.ask(nsq.dpub("t", 1500, b"later")) == b"OK"
            assert await client.ask(nsq.pub("t", b"now")) == b"OK"
        await server.kill()
        clock.advance(0.5)
        await server.start()
        assert (await channel_stats(server, "t", "ch"))["deferred_count"] == 1
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=5)
            assert (await client.message()).body == b"now"
            clock.advance(0.98)
            await client.synced()  # a message that came early would be in the way
            clock.advance(0.04)
            assert (await client.message()).body == b"later"


async def test_topics_channels_and_pauses_are_as_before(tmp_path):
    async with nsqd_server("embedded", data=tmp_path) as server:
        for path in (
            "/topic/create?topic=a",
            "/channel/create?topic=a&channel=one",
            "/channel/create?topic=a&channel=two",
            "/channel/delete?topic=a&channel=two",
            "/channel/pause?topic=a&channel=one",
            "/topic/create?topic=b",
            "/topic/delete?topic=b",
            "/topic/create?topic=c",
            "/topic/pause?topic=c",
            "/topic/create?topic=d%23ephemeral",
            "/channel/create?topic=a&channel=e%23ephemeral",
        ):
            assert (await call(server, "POST", path))[0] == 200
        await server.restart()
        found = (await stats(server))["topics"]
        assert [
            (
                t["topic_name"],
                t["paused"],
                [(c["channel_name"], c["paused"]) for c in t["channels"]],
            )
            for t in found
        ] == [("a", False, [("one", True)]), ("c", True, [])]


async def test_a_backlog_moves_to_the_first_channel_and_its_copies_to_the_others(tmp_path):
    async with nsqd_server("embedded", data=tmp_path) as server:
        for path in (
            "/topic/create?topic=t",
            "/channel/create?topic=t&channel=one",
            "/channel/create?topic=t&channel=two",
            "/topic/pause?topic=t",
        ):
            await call(server, "POST", path)
        assert await call(server, "POST", "/mpub?topic=t", b"1\n2\n3") == (200, b"OK")
        await server.kill()
        await server.start()
        assert (await topic_stats(server, "t"))["depth"] == 3
        await call(server, "POST", "/topic/unpause?topic=t")
        await call(server, "POST", "/pub?topic=t", b"4")
        await server.kill()
        await server.start()
        sent = {b"1", b"2", b"3", b"4"}
        for channel in ("one", "two"):
            assert sorted(await take_all(server.port, "t", channel, sent)) == sorted(sent)


async def test_emptied_and_deleted_messages_do_not_come_back(tmp_path):
    async with nsqd_server("embedded", data=tmp_path) as server:
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=1)
            assert await client.ask(nsq.mpub("t", [b"1", b"2"])) == b"OK"
            await client.message()
            assert await client.ask(nsq.dpub("t", 60_000, b"3")) == b"OK"
            assert await client.ask(nsq.mpub("u", [b"1", b"2"])) == b"OK"
        await call(server, "POST", "/channel/empty?topic=t&channel=ch")
        await call(server, "POST", "/topic/delete?topic=u")
        await server.restart()
        value = await channel_stats(server, "t", "ch")
        assert value["depth"] == value["deferred_count"] == 0
        assert await topic_stats(server, "u") is None


async def test_ids_go_up_over_restarts_whatever_the_clock_says(tmp_path):
    seen: list[bytes] = []
    for wall in (2_000_000_000.0, 1_000_000_000.0, 1_500_000_000.0):
        server = EmbeddedNsqd(data=tmp_path, clock=ManualClock(wall=wall))
        await server.start()
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=5)
            assert await client.ask(nsq.pub("t", b"x")) == b"OK"
            message = await client.message()
            client.send(nsq.fin(message.id))
            seen.append(message.id)
            await client.synced()
        await server.stop()
    assert seen == sorted(set(seen))


# -- clock ----------------------------------------------------------------------------


async def test_the_wall_clock_steps_back_an_hour(tmp_path):
    clock = ManualClock()
    server = EmbeddedNsqd(clock=clock, data=tmp_path)
    await server.start()
    async with nsq_client(server.port) as client:
        await client.subscribe("t", ready=100, msg_timeout=1000)
        ids = []
        for step in (0.0, -3600.0, 7200.0, -10_800.0):
            clock.wall += step
            assert await client.ask(nsq.pub("t", b"x")) == b"OK"
            ids.append((await client.message()).id)
            assert await client.ask(nsq.dpub("t", 100, b"d")) == b"OK"
        clock.advance(0.11)
        ids += [message.id for message in await client.messages(4)]
        assert len(set(ids)) == 8
        clock.advance(0.88)
        await client.synced()  # no lease has ended yet
        clock.advance(0.02)
        again = await client.messages(4)
        assert {(message.body, message.attempts) for message in again} == {(b"x", 2)}
    await server.stop()


async def test_a_kill_forgets_no_attempt_that_reached_a_consumer(tmp_path):
    """135: the process dies over the message, with the broker in it, again and again."""
    async with nsqd_process(tmp_path) as server, nsq_client(server.port) as client:
        await client.subscribe("t", ready=1)
        assert (
            await client.ask(nsq.mpub("t", [b"poison", *(b"%d" % n for n in range(50))])) == b"OK"
        )
        assert (await client.message()).attempts == 1
        await server.kill()
    for attempt in range(2, 6):
        async with nsqd_process(tmp_path) as server, nsq_client(server.port) as client:
            await client.subscribe("t", ready=3)
            seen = {message.body: message.attempts for message in await client.messages(3)}
            assert seen == {b"poison": attempt, b"0": attempt - 1, b"1": attempt - 1}
            await server.kill()


async def test_what_was_requeued_or_timed_out_keeps_its_attempts_over_a_kill(tmp_path):
    async with nsqd_process(tmp_path) as server, nsq_client(server.port) as client:
        await client.subscribe("t", ready=1)
        assert await client.ask(nsq.pub("t", b"x")) == b"OK"
        for _ in range(3):
            client.send(nsq.req((await client.message()).id, 0))
        assert (await client.message()).attempts == 4
        await server.kill()
    async with nsqd_process(tmp_path) as server, nsq_client(server.port) as client:
        await client.subscribe("t", ready=1)
        assert (await client.message()).attempts == 5


async def test_one_channel_s_attempts_are_not_another_s(tmp_path):
    async with nsqd_process(tmp_path) as server, nsq_client(server.port) as client:
        async with nsq_client(server.port) as other:
            await other.subscribe("t", "other", ready=0)
        await client.subscribe("t", ready=1)
        assert await client.ask(nsq.pub("t", b"x")) == b"OK"
        await client.message()
        await server.kill()
    async with nsqd_process(tmp_path) as server:
        for channel, attempts in (("ch", 2), ("other", 1)):
            async with nsq_client(server.port) as client:
                await client.subscribe("t", channel, ready=1)
                assert (await client.message()).attempts == attempts


@pytest.mark.parametrize(
    ("version", "before"),
    [
        (1, ["UPDATE message SET attempts = 3 WHERE row = 1"]),
        (2, ["CREATE TABLE attempt (row INTEGER, attempts INTEGER)",
             "INSERT INTO attempt VALUES (1, 3)"]),
    ],
)  # fmt: skip
def test_a_store_of_an_earlier_format_is_taken_over(tmp_path, version, before):
    store = Store(DiskFolder(tmp_path), sync=False)
    store.write(WriteBatch(records=[record(1), record(2)]))
    for statement in ("DROP TABLE delivered", *before, f"PRAGMA user_version = {version}"):
        store._connection.execute(statement)
    store.close()
    store = Store(DiskFolder(tmp_path), sync=False)
    assert [(row.row, row.attempts) for row in store.rows()] == [(1, 3), (2, 0)]
    store.write(WriteBatch(deliveries=[(1, 4), (2, 1)]))
    assert [(row.row, row.attempts) for row in store.rows()] == [(1, 4), (2, 1)]
    store.write(WriteBatch(forgotten=[1, 2]))
    assert list(store.rows()) == []
    store.close()


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), max_size=9), max_size=6),
    st.sets(st.integers(1, 9)),
)
def test_each_message_has_the_most_attempts_that_were_noted(batches, finished):
    with TemporaryDirectory() as folder:
        store = Store(DiskFolder(Path(folder)), sync=False)
        store.write(WriteBatch(records=[record(row) for row in range(1, 10)]))
        for deliveries in batches:
            store.write(WriteBatch(deliveries=deliveries))
        store.write(WriteBatch(forgotten=list(finished)))
        noted = [pair for deliveries in batches for pair in deliveries]
        assert {row.row: row.attempts for row in store.rows()} == {
            row: max((attempts for at, attempts in noted if at == row), default=0)
            for row in range(1, 10)
            if row not in finished
        }
        store.close()


def test_a_number_that_is_known_of_is_not_used_again(tmp_path):
    """What was noted of a message that is gone would be said of another one."""
    store = Store(DiskFolder(tmp_path), sync=False)
    store.write(WriteBatch(records=[record(row) for row in (1, 2, 3)]))
    store.write(WriteBatch(deliveries=[(1, 1), (2, 1), (3, 1)]))
    store.write(WriteBatch(forgotten=[2, 3]))
    assert store.last_row() == 3
    store.close()


def test_what_was_noted_of_messages_that_are_gone_is_thrown_out(tmp_path):
    store = Store(DiskFolder(tmp_path), sync=False)
    store.write(WriteBatch(records=[record(1)]))
    store.write(WriteBatch(deliveries=[(1, 1)]))
    store.write(WriteBatch(deliveries=[(row, 1) for row in range(3, 30_000, 2)]))
    lines = store._connection.execute("SELECT first, last, attempts FROM delivered").fetchall()
    assert lines == [(1, 1, 1)]
    store.close()


# -- who may read ------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_the_folder_and_its_files_are_their_owner_s_alone_whatever_the_umask(tmp_path, umask):
    folder = tmp_path / "data"
    before = os.umask(umask)
    try:
        async with (
            nsqd_server("embedded", data=folder) as server,
            nsq_client(server.port) as client,
        ):
            assert await client.ask(nsq.pub("t", b"secret")) == b"OK"
            names = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
            assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
    assert {"nsqd.sqlite", "nsqd.sqlite-wal", "nsqd.lock"} <= names.keys()
    assert set(names.values()) == {0o600}


async def test_what_an_older_version_left_open_is_closed_to_others(tmp_path):
    folder = tmp_path / "data"
    async with nsqd_server("embedded", data=folder):
        pass
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    async with nsqd_server("embedded", data=folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


async def test_a_folder_that_holds_other_things_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "notes.txt").chmod(0o644)
    async with nsqd_server("embedded", data=tmp_path):
        assert tmp_path.stat().st_mode & 0o777 == 0o755
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes.pop("notes.txt") == 0o644
    assert set(modes.values()) == {0o600}


# -- full disks -------------------------------------------------------------------------


async def fill(server: Any) -> set[bytes]:
    """Publish until the disk is full; what was confirmed."""
    confirmed: set[bytes] = set()
    async with nsq_client(server.port) as client:
        while True:
            body = b"%07d" % len(confirmed) * 3000
            frame = await client.frame_after(nsq.pub("t", body))
            if frame != nsq.Response(b"OK"):
                return confirmed
            confirmed.add(body)


async def test_a_full_disk_that_was_drained_takes_messages_again(tmp_path):
    """138: the limit stays as it is, and only draining makes room, several times."""
    drained: set[bytes] = set()
    async with nsqd_process(tmp_path, file_size=3_000_000) as server:
        for _ in range(3):
            confirmed = await fill(server)
            assert len(confirmed) > 20
            got = await take_all(server.port, "t", "ch", confirmed)
            assert set(got) == confirmed
            drained |= confirmed
            while (await call(server, "GET", "/ping"))[0] != 200:
                await asyncio.sleep(0)
        await server.kill()
    async with nsqd_process(tmp_path) as server, nsq_client(server.port) as client:
        await client.subscribe("t", ready=1)
        assert await client.ask(nsq.pub("t", b"new")) == b"OK"
        assert (await client.message()).body == b"new", "what was finished does not come again"


async def test_what_is_finished_on_a_full_disk_is_gone_after_a_kill(tmp_path):
    async with nsqd_process(tmp_path, file_size=3_000_000) as server:
        confirmed = await fill(server)
        half = set(sorted(confirmed)[: len(confirmed) // 2])
        got = await take_all(server.port, "t", "ch", half)
        while (await call(server, "GET", "/ping"))[0] != 200:
            await asyncio.sleep(0)
        await server.kill()
    async with nsqd_process(tmp_path) as server:
        left = confirmed - set(got)
        assert set(await take_all(server.port, "t", "ch", left)) == left


def test_the_reserve_is_what_there_is_room_for(tmp_path, monkeypatch):
    asked: list[int] = []

    def allocate(descriptor: int, offset: int, size: int) -> None:
        asked.append(size)
        if size > 1_000_000:
            raise OSError(28, "no space")
        os.ftruncate(descriptor, offset + size)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    reserve = Reserve(tmp_path)
    assert reserve.hold()
    assert asked == sorted(asked, reverse=True)
    assert reserve.size == asked[-1] <= 1_000_000
    reserve.release()
    assert (reserve.size, (tmp_path / "nsqd.reserve").stat().st_size) == (0, 0)


async def test_a_full_disk_refuses_and_says_so_until_a_write_works(tmp_path):
    limit = 3_000_000
    async with nsqd_process(tmp_path, file_size=limit) as server:
        confirmed = 0
        refused = None
        while refused is None:
            async with nsq_client(server.port) as client:
                frame = nsq.Response(b"OK")
                while frame == nsq.Response(b"OK"):
                    frame = await client.frame_after(nsq.pub("t", b"%07d" % confirmed * 10_000))
                    confirmed += frame == nsq.Response(b"OK")
                refused = frame
        assert isinstance(refused, nsq.ErrorFrame)
        assert refused.code == "E_PUB_FAILED"
        status, body = await call(server, "GET", "/ping")
        assert (status, body[:6]) == (500, b"NOK - ")
        assert (await stats(server))["health"].startswith("NOK - ")
        assert (await call(server, "POST", "/pub?topic=t", b"x" * 900_000))[0] == 503
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (-1, -1))
        while (await call(server, "GET", "/ping"))[0] != 200:
            await asyncio.sleep(0)
        async with nsq_client(server.port) as client:
            assert await client.ask(nsq.pub("t", b"after")) == b"OK"
        await server.kill()
    expected = {b"%07d" % number * 10_000 for number in range(confirmed)} | {b"after"}
    async with nsqd_process(tmp_path) as server:
        assert sorted(await take_all(server.port, "t", "ch", expected)) == sorted(expected)


# -- owners --------------------------------------------------------------------------------


async def test_a_second_server_is_refused_by_the_name_of_the_holder(tmp_path):
    folder = tmp_path / "new" / "data"
    first = EmbeddedNsqd(data=folder)
    await first.start()
    second = EmbeddedNsqd(data=folder)
    with pytest.raises(DirectoryInUse) as caught:
        await second.start()
    assert f"process {os.getpid()}" in caught.value.holder
    assert f"127.0.0.1:{first.port}" in str(caught.value)
    await first.stop()
    await second.start()
    await second.stop()


async def test_a_lock_left_by_a_killed_server_is_taken_over(tmp_path):
    async with nsqd_process(tmp_path) as server:
        await server.kill()
    assert (tmp_path / "nsqd.lock").exists()
    later = EmbeddedNsqd(data=tmp_path)
    await later.start()
    await later.stop()


async def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        server = EmbeddedNsqd(data=folder)
        with pytest.raises(DataDirectoryError, match=str(folder)):
            await server.start()


async def test_a_file_that_is_no_store_is_refused_and_the_folder_given_up(tmp_path):
    (tmp_path / "nsqd.sqlite").write_bytes(b"not a database, certainly not " * 100)
    for _ in range(2):
        with pytest.raises(DataDirectoryError, match="not a database"):
            await EmbeddedNsqd(data=tmp_path).start()


# -- the file itself -------------------------------------------------------------------------


def record(row: int) -> JournalRecord:
    return JournalRecord(row, 1, b"%016d" % row, row, 0, b"body %d" % row)


def test_a_file_cut_at_any_byte_opens_with_what_came_before(tmp_path):
    store = Store(DiskFolder(tmp_path), sync=False)
    for row in range(1, 41):
        store.write(WriteBatch(records=[record(row)]))
    log = (tmp_path / "nsqd.sqlite-wal").read_bytes()
    main = (tmp_path / "nsqd.sqlite").read_bytes()
    cuts = [*range(0, len(log), 4111), *range(len(log) - 200, len(log) + 1)]
    counts = []
    for cut in cuts:
        folder = tmp_path / "cut"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "nsqd.sqlite").write_bytes(main)
        (folder / "nsqd.sqlite-wal").write_bytes(log[:cut])
        opened = Store(DiskFolder(folder), sync=False)
        rows = [row.row for row in opened.rows()]
        opened.close()
        assert rows == list(range(1, len(rows) + 1))
        counts.append(len(rows))
    store.close()
    assert counts == sorted(counts)
    assert counts[-1] == 40


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    store = Store(DiskFolder(tmp_path), sync=False)
    store.write(WriteBatch(records=[record(1)]))
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        store.write(WriteBatch(records=[record(2), record(1)]))
    assert [row.row for row in store.rows()] == [1]
    store.close()


def test_a_store_of_another_format_is_refused(tmp_path):
    store = Store(DiskFolder(tmp_path), sync=False)
    store._connection.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(DataDirectoryError, match="format 99"):
        Store(DiskFolder(tmp_path), sync=False)


@given(st.sets(st.integers(1, 60)))
def test_runs_cover_exactly_the_rows(rows):
    found = runs(rows)
    assert {row for first, last in found for row in range(first, last + 1)} == rows
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))


async def test_settlements_alone_reach_the_store_without_a_publish(tmp_path):
    options = NsqdOptions(sync=False)
    async with nsqd_server("embedded", data=tmp_path, options=options) as server:
        async with nsq_client(server.port) as client:
            await client.subscribe("t", ready=10)
            assert await client.ask(nsq.mpub("t", [b"1", b"2"])) == b"OK"
            for message in await client.messages(2):
                client.send(nsq.fin(message.id))
        while (await channel_stats(server, "t", "ch"))["in_flight_count"]:
            await asyncio.sleep(0)
        await server.restart()
        assert (await channel_stats(server, "t", "ch"))["depth"] == 0
