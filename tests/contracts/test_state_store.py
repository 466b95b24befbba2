"""What every store of durable state keeps, held against each of them (ports.state_store)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.errors import ConfigError, StoreUnavailable
from irismq_runtime.ports.state_store import (
    ABSENT,
    END,
    KEEP,
    LATER,
    RESULTS,
    RESULTS_KNOWN,
    AnswerRight,
    CommitInvalid,
    CommitLost,
    Committed,
    HandledRight,
    KeptAnswer,
    KeptResult,
    OwnedRight,
    RightsGone,
    RightState,
    StateCommit,
    StateKey,
    StoredState,
    row_number,
)
from irismq_runtime.wire.ids import new_id
from tests.contracts.state_store_support import (
    ADA,
    BOB,
    TEA,
    Clients,
    a_commit,
    a_message,
    fresh_key,
    outcome_of,
    place_of,
    told,
    written,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from irismq_runtime.ports.state_store import StateStore

STANDS = RightState("stands")
GONE = RightState("gone")
EARLY = RightState("early")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Clients]:
    async with Clients(place_of(request, tmp_path)) as opened:
        yield opened


@pytest.fixture
async def store(clients: Clients) -> StateStore:
    return await clients.open()


# -- states ---------------------------------------------------------------------


async def test_a_key_that_was_never_written_is_absent(store: StateStore):
    assert await store.load([ADA, BOB]) == [StoredState(ADA), StoredState(BOB)]


async def test_what_was_committed_is_loaded_by_every_client(clients: Clients, store: StateStore):
    commit = a_commit(ADA, ABSENT, b"one")
    [outcome] = await store.commit([commit])
    assert isinstance(outcome, Committed)
    assert outcome.version > ABSENT
    other = await clients.open()
    stored = StoredState(ADA, outcome.version, b"one", commit.id)
    assert await other.load([BOB, ADA]) == [StoredState(BOB), stored]


async def test_keys_of_any_text_are_kept_apart(store: StateStore):
    texts = ["", " ", "a", "A", "á", "a\u0301", "🫖", "a" * 256, "%", "'", '"', "\\", "\n"]
    keys = [StateKey("shop.cart", text) for text in texts]
    keys += [StateKey("shop.carta", ""), StateKey("shop.car", "t")]
    await store.commit([a_commit(key, ABSENT, repr(key).encode()) for key in keys])
    assert [each.state for each in await store.load(keys)] == [repr(key).encode() for key in keys]


async def test_the_keys_of_an_address_are_found_in_pieces_in_the_order_of_their_bytes(store):
    names = ["a", "b", "B", "\u00e9", "\U0001f600", "\uffff", "z"]
    keys = [StateKey("shop.shelf", name) for name in names]
    await store.commit([a_commit(key, ABSENT, state=b"x") for key in keys])
    await written(store, StateKey("shop.shelf.other", "c"), ABSENT, b"y")
    gone = await written(store, StateKey("shop.shelf", "gone"), ABSENT, b"z")
    await written(store, StateKey("shop.shelf", "gone"), gone, END)
    ordered = sorted(names, key=str.encode)
    first = await store.scan("shop.shelf", "", 4)
    rest = await store.scan("shop.shelf", first[-1].key.key, 100)
    assert [each.key.key for each in (*first, *rest)] == ordered
    assert await store.load([each.key for each in (*first, *rest)]) == [*first, *rest]
    assert await store.scan("shop.nothing", "", 10) == []


async def test_what_is_kept_until_it_is_due_is_found_then_and_once_released_no_more(store):
    shelf = StateKey("shop.later", "a")
    rows = [a_message(shelf, channel=LATER, delay=delay) for delay in (3600.0, 5.0, 0.0)]
    await told(store, shelf, *rows, a_message(shelf), a_message(shelf, delay=5.0))
    addresses = ["shop.later", "shop.nothing"]
    assert [row.id for row in await store.due(addresses, 10.0, 9)] == [rows[2].id, rows[1].id]
    assert [row.id for row in await store.due(addresses, 1e9, 9)][-1] == rows[0].id
    assert len(await store.due(addresses, 1e9, 2)) == 2
    await store.release([rows[2].id], "mailbox")
    assert [row.id for row in await store.due(addresses, 10.0, 9)] == [rows[1].id]
    assert rows[2].id in {row.id for row in await store.missing("shop.later", 0.0, 9)}


async def test_a_state_may_be_empty_or_large(store: StateStore):
    await written(store, ADA, ABSENT, b"")
    await written(store, BOB, ABSENT, bytes(range(256)) * 4096)
    assert [each.state for each in await store.load([ADA, BOB])] == [b"", bytes(range(256)) * 4096]


async def test_versions_grow_with_each_commit(store: StateStore):
    version = ABSENT
    for n in range(5):
        before, version = version, await written(store, ADA, version, b"%d" % n)
        assert version > before


async def test_a_commit_on_an_old_version_is_lost_and_names_the_one_that_stands(store: StateStore):
    first = await written(store, ADA, ABSENT, b"one")
    winner = a_commit(ADA, first, b"two")
    [won] = await store.commit([winner])
    assert isinstance(won, Committed)
    assert await outcome_of(store, ADA, first, b"three") == CommitLost(won.version, winner.id)
    assert await outcome_of(store, ADA, ABSENT, b"three") == CommitLost(won.version, winner.id)
    assert (await store.load([ADA]))[0].state == b"two"


async def test_a_commit_on_a_version_of_a_key_that_is_absent_is_lost(store: StateStore):
    version = await written(store, BOB, ABSENT, b"")
    assert await outcome_of(store, ADA, version, b"x") == CommitLost(ABSENT, b"")
    assert await store.load([ADA]) == [StoredState(ADA)]


async def test_a_commit_that_keeps_the_state_raises_the_version(store: StateStore):
    first = await written(store, ADA, ABSENT, b"one")
    second = await written(store, ADA, first, KEEP)
    assert second > first
    assert (await store.load([ADA]))[0].state == b"one"
    assert isinstance(await outcome_of(store, ADA, first, b"two"), CommitLost)


async def test_a_commit_that_keeps_nothing_makes_the_key_known(store: StateStore):
    version = await written(store, ADA, ABSENT, KEEP)
    [stored] = await store.load([ADA])
    assert (stored.version, stored.state) == (version, None)


async def test_no_version_of_an_ended_life_fits_the_next_one(store: StateStore):
    first = await written(store, ADA, ABSENT, b"one")
    ended = await written(store, ADA, first, END)
    [stored] = await store.load([ADA])
    assert (stored.version, stored.state) == (ended, None)
    again = await written(store, ADA, ended, b"two")
    assert len({ABSENT, first, ended, again}) == 4
    for old in (ABSENT, first, ended):
        assert isinstance(await outcome_of(store, ADA, old, b"x"), CommitLost)


async def test_what_is_left_of_an_ended_key_goes_and_its_versions_do_not_come_again(
    store: StateStore,
):
    first = await written(store, ADA, ABSENT, b"one")
    ended = await written(store, ADA, first, END)
    await written(store, BOB, ABSENT, b"stays")
    while await store.tidy(keep=0.0, limit=1):
        pass
    assert [each.version == ABSENT for each in await store.load([ADA, BOB])] == [True, False]
    assert await outcome_of(store, ADA, ended, b"x") == CommitLost(ABSENT, b"")
    assert await written(store, ADA, ABSENT, b"new") > ended


async def test_commits_of_one_transaction_do_not_share_their_fate(store: StateStore):
    version = await written(store, ADA, ABSENT, b"one")
    keys = [fresh_key() for _ in range(3)]
    outcomes = await store.commit(
        [
            a_commit(keys[0], ABSENT, b"a"),
            a_commit(ADA, version + 1, b"lost"),
            a_commit(keys[1], ABSENT, b"b"),
            a_commit(keys[2], ABSENT, b"gone", rights=[OwnedRight(new_id())]),
        ]
    )
    kinds = [Committed, CommitLost, Committed, RightsGone]
    assert [type(outcome) for outcome in outcomes] == kinds
    stored = await store.load([*keys, ADA])
    assert [each.state for each in stored] == [b"a", b"b", None, b"one"]
    assert stored[2].version == ABSENT


async def test_many_keys_in_one_transaction(store: StateStore):
    keys = [fresh_key() for _ in range(256)]
    outcomes = await store.commit([a_commit(key, ABSENT, key.key.encode()) for key in keys])
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert [each.state for each in await store.load(keys)] == [key.key.encode() for key in keys]


async def test_no_commit_at_all_is_none(store: StateStore):
    assert await store.commit([]) == []
    assert await store.load([]) == []


async def test_what_no_caller_may_give_is_an_error_before_anything_is_written(store: StateStore):
    right = OwnedRight(new_id())
    for commits in (
        [a_commit(ADA, ABSENT, b"1"), a_commit(ADA, ABSENT, b"2")],
        [a_commit(ADA, ABSENT, b"1", rights=[right, OwnedRight(right.id)])],
    ):
        with pytest.raises(ValueError, match="same"):
            await store.commit(commits)
    assert await store.load([ADA]) == [StoredState(ADA)]


async def test_a_value_that_cannot_be_kept_fails_its_own_commit_alone(store: StateStore):
    known, twice = a_message(), a_message()
    await told(store, TEA, known)
    outcomes = await store.commit(
        [
            a_commit(ADA, ABSENT, b"a"),
            a_commit(StateKey("shop.cart", "\udcff"), ABSENT, b"b"),
            a_commit(fresh_key(), ABSENT, b"c", staged=[a_message(), known]),
            a_commit(fresh_key(), ABSENT, b"d", staged=[twice, twice]),
            a_commit(BOB, ABSENT, b"e"),
        ]
    )
    kinds = [Committed, CommitInvalid, CommitInvalid, CommitInvalid, Committed]
    assert [type(outcome) for outcome in outcomes] == kinds
    assert [each.state for each in await store.load([ADA, BOB])] == [b"a", b"e"]
    assert (await store.sizes()).outbox == 1


async def test_of_two_that_write_the_same_key_one_wins(clients: Clients, store: StateStore):
    other = await clients.open()
    version = ABSENT
    for _round in range(5):
        outcomes = await asyncio.gather(
            outcome_of(store, ADA, version, b"a"), outcome_of(other, ADA, version, b"b")
        )
        [won] = [each for each in outcomes if isinstance(each, Committed)]
        [lost] = [each for each in outcomes if isinstance(each, CommitLost)]
        assert lost.version == won.version
        version = won.version
        assert (await store.load([ADA]))[0].version == version


async def test_transactions_that_share_keys_in_any_order_do_not_block_each_other(
    clients: Clients, store: StateStore
):
    other = await clients.open()
    keys = [fresh_key() for _ in range(20)]
    commits = [a_commit(key, ABSENT, b"x") for key in keys]
    for _round in range(3):
        one, two = await asyncio.gather(store.commit(commits), other.commit(commits[::-1]))
        won = [isinstance(each, Committed) for each in one]
        assert [isinstance(each, Committed) for each in two[::-1]] == [not each for each in won]
        commits = [a_commit(each.key, each.version, b"y") for each in await store.load(keys)]


# -- rights over outbox rows ------------------------------------------------------


async def test_the_row_of_a_message_is_the_right_to_handle_it_once(store: StateStore):
    [right] = await told(store, ADA, a_message(ADA))
    assert await store.standing(ADA, [right]) == [STANDS]
    version = await written(store, ADA, ABSENT, b"one", rights=[right])
    assert await store.standing(ADA, [right]) == [GONE]
    assert await store.rows([right.id]) == []
    assert await outcome_of(store, ADA, version, b"two", rights=[right]) == RightsGone((GONE,))
    assert (await store.load([ADA]))[0].state == b"one"


async def test_where_one_right_of_several_is_gone_nothing_is_written(store: StateStore):
    first, second = await told(store, ADA, a_message(ADA), a_message(ADA))
    version = await written(store, ADA, ABSENT, b"one", rights=[first])
    staged = a_message()
    both = await outcome_of(store, ADA, version, b"two", rights=[first, second], staged=[staged])
    assert both == RightsGone((GONE, STANDS))
    assert (await store.load([ADA]))[0].version == version
    assert await store.rows([staged.id]) == []
    assert await store.standing(ADA, [second]) == [STANDS]


async def test_a_row_is_a_right_of_the_key_that_it_is_for_and_of_no_other(store: StateStore):
    [right] = await told(store, ADA, a_message(ADA))
    assert await outcome_of(store, BOB, ABSENT, b"x", rights=[right]) == RightsGone((GONE,))
    assert await store.standing(BOB, [right]) == [GONE]
    assert await store.standing(ADA, [right]) == [STANDS]


async def test_of_two_activations_that_handle_a_message_one_commits(
    clients: Clients, store: StateStore
):
    other = await clients.open()
    version = ABSENT
    for _round in range(5):
        rights = await told(store, ADA, a_message(ADA), a_message(ADA))
        outcomes = await asyncio.gather(
            outcome_of(store, ADA, version, b"a", rights=rights),
            outcome_of(other, ADA, version, b"b", rights=rights[:1]),
        )
        [won] = [each for each in outcomes if isinstance(each, Committed)]
        version = won.version
        left = [row.id for row in await store.rows([right.id for right in rights])]
        assert left == ([] if outcomes[0] is won else [rights[1].id])
        await store.forget(left)


async def test_messages_of_one_sender_to_one_key_are_taken_in_the_order_told(store: StateStore):
    first, second, third = await told(store, ADA, *[a_message(ADA) for _ in range(3)])
    assert await store.standing(ADA, [second]) == [EARLY]
    assert await store.standing(ADA, [first, second, third]) == [STANDS, STANDS, STANDS]
    assert await store.standing(ADA, [second, first]) == [EARLY, STANDS]
    assert await outcome_of(store, ADA, rights=[third, first]) == RightsGone((EARLY, STANDS))
    version = await written(store, ADA, ABSENT, rights=[first, second])
    await written(store, ADA, version, rights=[third])


async def test_what_is_put_off_keeps_its_place_in_the_order(store: StateStore):
    first, second, third = await told(store, ADA, *[a_message(ADA) for _ in range(3)])
    await store.put_off([first.id], 60.0, tried=True)
    assert await store.standing(ADA, [second]) == [EARLY]
    await store.put_off([second.id], 60.0, tried=False)
    assert await store.standing(ADA, [third]) == [EARLY]
    await written(store, ADA, ABSENT, rights=[first, second, third])


async def test_the_order_goes_on_over_the_commits_of_a_sender(store: StateStore):
    sender, first, second = fresh_key(), a_message(ADA), a_message(ADA)
    version = await written(store, sender, ABSENT, staged=[first])
    await written(store, sender, version, staged=[second])
    assert await store.standing(ADA, [OwnedRight(second.id)]) == [EARLY]
    rows = await store.rows([first.id, second.id])
    assert min(row.number for row in rows) == row_number(version, 0)
    number = max(row.number for row in rows)
    before = await store.rows_between(sender, ADA, number, 10)
    assert [row.id for row in before] == [first.id]
    assert len(await store.rows_between(sender, ADA, number + 1, 10)) == 2
    assert len(await store.rows_between(sender, ADA, number + 1, 1)) == 1
    assert await store.rows_between(sender, BOB, number + 1, 10) == []


async def test_messages_of_others_to_others_and_without_an_order_do_not_wait(store: StateStore):
    messages = [
        a_message(ADA, delay=3600.0),
        a_message(ADA, ordered=False),
        a_message(BOB),
        a_message(ADA),
    ]
    rights = await told(store, ADA, *messages)
    [stranger] = await told(store, ADA, a_message(ADA))
    assert await store.standing(ADA, [rights[3]]) == [STANDS]
    assert await store.standing(ADA, [stranger]) == [STANDS]
    assert await store.standing(ADA, [rights[1]]) == [STANDS]


async def test_a_message_that_was_put_aside_stays_as_a_dead_row(store: StateStore):
    first, second = await told(store, ADA, a_message(ADA, b"body"), a_message(ADA))
    aside = OwnedRight(first.id, aside=True)
    version = await written(store, ADA, ABSENT, b"s", rights=[aside])
    [row] = await store.rows([first.id])
    assert (row.dead, row.envelope) == (True, b"body")
    assert await store.standing(ADA, [first, second]) == [RightState("dead"), STANDS]
    assert await store.missing("shop.cart", -60.0, 10) == await store.rows([second.id])
    gone = await outcome_of(store, ADA, version, rights=[first])
    assert gone == RightsGone((RightState("dead"),))


async def test_a_dead_row_that_is_revived_may_be_handled_out_of_order(store: StateStore):
    first, second = await told(store, ADA, a_message(ADA, expires=9.0), a_message(ADA))
    await store.put_off([first.id], 0.0, tried=True)
    await written(store, ADA, ABSENT, rights=[OwnedRight(first.id, aside=True)])
    assert await store.revive([first.id, second.id]) == 1
    [row] = await store.rows([first.id])
    assert (row.dead, row.tries, row.expires, row.ordered) == (False, 0, None, False)
    assert await store.standing(ADA, [second]) == [STANDS]
    assert await store.standing(ADA, [first]) == [STANDS]
    assert await store.forget([first.id]) == 1
    assert await store.revive([first.id]) == 0


async def test_a_right_that_is_newer_than_the_store_shows_that_it_went_back(store: StateStore):
    version = await written(store, ADA, ABSENT, b"s")
    handled = OwnedRight(new_id(), row_number(version, 3))
    assert await store.standing(ADA, [handled]) == [GONE]
    lost = OwnedRight(new_id(), row_number(version + 1000, 0))
    for call in (
        store.standing(ADA, [lost]),
        store.commit([a_commit(ADA, version, rights=[lost])]),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert (caught.value.kind, caught.value.outcome) == ("went back", "not sent")
    assert (await store.load([ADA]))[0].version == version


# -- rights of other senders ------------------------------------------------------


async def test_what_is_noted_as_handled_is_not_handled_again(store: StateStore):
    right = HandledRight("mailbox", b"id-1")
    version = await written(store, ADA, ABSENT, b"s", rights=[right])
    assert await store.standing(ADA, [right]) == [GONE]
    assert await outcome_of(store, ADA, version, rights=[right]) == RightsGone((GONE,))
    others = [HandledRight("audit", b"id-1"), HandledRight("mailbox", b"id-2")]
    assert await store.standing(ADA, others) == [STANDS, STANDS]
    assert await store.standing(BOB, [right]) == [STANDS]
    await written(store, ADA, version, rights=others)
    assert (await store.sizes()).handled == 3


async def test_handled_ids_go_when_they_cannot_come_again(store: StateStore):
    rights = [HandledRight("mailbox", b"%d" % n, repeats=n == 1) for n in range(3)]
    rights.append(HandledRight("audit", b"3"))
    await written(store, ADA, ABSENT, rights=rights)
    assert await store.forget_handled("shop.cart", "mailbox", age=3600.0) == 0
    assert await store.forget_handled("shop.stock", "mailbox", age=0.0) == 0
    assert await store.forget_handled("shop.cart", "mailbox", age=0.0, limit=1) == 1
    assert await store.forget_handled("shop.cart", "mailbox", age=0.0) == 1
    assert await store.standing(ADA, rights) == [STANDS, GONE, STANDS, GONE]
    assert await store.tidy(keep=3600.0) is False
    assert await store.standing(ADA, rights) == [STANDS, GONE, STANDS, GONE]
    assert await store.tidy(keep=0.0, limit=1) is True
    while await store.tidy(keep=0.0, limit=1):
        pass
    assert await store.standing(ADA, rights) == [STANDS] * 4


async def test_an_answer_is_kept_for_its_time_and_given_once(store: StateStore):
    right = AnswerRight("order-1", b"digest", b"answer", keep=3600.0)
    assert await store.kept_answer(ADA, "order-1") is None
    version = await written(store, ADA, ABSENT, b"s", rights=[right])
    assert await store.kept_answer(ADA, "order-1") == KeptAnswer(b"digest", b"answer")
    assert await store.kept_answer(BOB, "order-1") is None
    assert await outcome_of(store, ADA, version, rights=[right]) == RightsGone((GONE,))
    assert await store.tidy(keep=0.0) is False
    assert await store.kept_answer(ADA, "order-1") == KeptAnswer(b"digest", b"answer")


async def test_an_answer_whose_time_is_over_is_not_given_and_still_known_to_have_been(
    store: StateStore,
):
    right = AnswerRight("order-1", b"digest", b"answer", keep=0.0)
    version = await written(store, ADA, ABSENT, b"s", rights=[right])
    forgotten = KeptAnswer(b"digest", b"")
    assert await store.kept_answer(ADA, "order-1") == forgotten
    await store.tidy(keep=3600.0)
    assert await store.kept_answer(ADA, "order-1") == forgotten
    assert await outcome_of(store, ADA, version, rights=[right]) == RightsGone((GONE,))
    await store.tidy(keep=0.0)
    assert await store.kept_answer(ADA, "order-1") is None
    again = AnswerRight("order-1", b"other", b"answer", keep=60.0)
    await written(store, ADA, version, rights=[again])
    assert await store.kept_answer(ADA, "order-1") == KeptAnswer(b"other", b"answer")


async def test_a_result_is_kept_with_a_commit_that_stands_and_takes_the_place_of_an_earlier_one(
    store: StateStore,
):
    message = new_id()
    kept = [KeptResult(message, b"first", keep=3600.0), KeptResult(new_id(), b"other", keep=60.0)]
    made = StateCommit(ADA, ABSENT, new_id(), results=kept)
    (outcome,) = await store.commit([made])
    assert isinstance(outcome, Committed)
    assert await store.kept_answer(RESULTS, message.hex()) == KeptAnswer(b"", b"first")
    # One that does not stand keeps nothing.
    again = [KeptResult(message, b"second", keep=3600.0)]
    (lost,) = await store.commit([StateCommit(ADA, ABSENT, new_id(), results=again)])
    assert isinstance(lost, CommitLost)
    assert await store.kept_answer(RESULTS, message.hex()) == KeptAnswer(b"", b"first")
    await store.commit([StateCommit(ADA, outcome.version, new_id(), results=again)])
    assert await store.kept_answer(RESULTS, message.hex()) == KeptAnswer(b"", b"second")
    # That there was one is known for a while, and of more than a few no longer than that.
    old = [KeptResult(new_id(), b"%d" % n, keep=-RESULTS_KNOWN) for n in range(3)]
    await store.commit([StateCommit(TEA, ABSENT, new_id(), results=old)])
    assert await store.tidy(keep=10 * RESULTS_KNOWN, limit=2) is True
    while await store.tidy(keep=10 * RESULTS_KNOWN, limit=2):
        pass
    for each in old:
        assert await store.kept_answer(RESULTS, each.id.hex()) is None
    assert await store.kept_answer(RESULTS, message.hex()) == KeptAnswer(b"", b"second")
    over = [KeptResult(message, b"third", keep=0.0)]
    await store.commit([StateCommit(BOB, ABSENT, new_id(), results=over)])
    assert await store.kept_answer(RESULTS, message.hex()) == KeptAnswer(b"", b"")
    await store.tidy(keep=3600.0)
    assert await store.kept_answer(RESULTS, message.hex()) == KeptAnswer(b"", b"")
    await store.tidy(keep=0.0)
    assert await store.kept_answer(RESULTS, message.hex()) is None


# -- outbox rows --------------------------------------------------------------------


async def test_a_staged_message_is_a_row_with_all_that_was_said_of_it(store: StateStore):
    owned = a_message(ADA, b"\x00body", expires=60.0)
    relayed = a_message(StateKey("news", ""), b"event", owned=False, channel="mailbox", delay=30.0)
    version = await written(store, TEA, ABSENT, staged=[owned, relayed])
    one, two = sorted(await store.rows([owned.id, relayed.id]), key=lambda row: row.number)
    assert (one.id, one.sender, one.to, one.envelope) == (owned.id, TEA, ADA, b"\x00body")
    assert (one.owned, one.channel, one.ordered, one.tries, one.dead) == (True, "", True, 0, False)
    assert one.expires is not None
    assert round(one.expires - one.due) == 60
    assert (two.id, two.to, two.owned) == (relayed.id, StateKey("news"), False)
    assert (two.channel, two.ordered, two.expires) == ("mailbox", False, None)
    assert round(two.due - one.due) == 30
    assert [one.number, two.number] == [row_number(version, 0), row_number(version, 1)]


async def test_what_is_missing_is_found_by_its_address_the_oldest_first(store: StateStore):
    late, later = a_message(ADA, delay=100.0), a_message(BOB, delay=50.0)
    await told(store, ADA, late, later, a_message(TEA), a_message(ADA, owned=False))
    assert await store.missing("shop.cart", 0.0, 10) == []
    found = await store.missing("shop.cart", -200.0, 10)
    assert [row.id for row in found] == [later.id, late.id]
    assert [row.id for row in await store.missing("shop.cart", -200.0, 1)] == [later.id]
    assert [row.id for row in await store.missing("shop.cart", -75.0, 10)] == [later.id]


async def test_a_row_that_is_put_off_is_due_later_and_counts_its_tries(store: StateStore):
    [right] = await told(store, ADA, a_message(ADA))
    await store.put_off([right.id, new_id()], 100.0, tried=True)
    await store.put_off([right.id], 100.0, tried=True)
    await store.put_off([right.id], 50.0, tried=False)
    assert await store.missing("shop.cart", 0.0, 10) == []
    [row] = await store.missing("shop.cart", -75.0, 10)
    assert row.tries == 2
    assert await store.standing(ADA, [right]) == [RightState("stands", tries=2)]


async def test_what_no_broker_has_confirmed_is_found_by_its_sender(store: StateStore):
    events = [a_message(StateKey("news"), b"%d" % n, owned=False) for n in range(3)]
    await written(store, ADA, ABSENT, staged=[events[0], a_message(TEA), events[1]])
    await written(store, TEA, ABSENT, staged=[events[2]])
    found = await store.unconfirmed(["shop.cart", "nobody"], -1.0, 10)
    assert [row.id for row in found] == [events[0].id, events[1].id]
    assert len(await store.unconfirmed(["shop.cart", "shop.stock"], -1.0, 10)) == 3
    assert await store.unconfirmed(["shop.cart"], 60.0, 10) == []
    assert await store.unconfirmed([], -1.0, 10) == []
    assert await store.forget([events[0].id, events[1].id, events[0].id]) == 2
    assert await store.unconfirmed(["shop.cart"], -1.0, 10) == []


async def test_what_waits_is_counted_up_to_a_limit(store: StateStore):
    rights = await told(store, ADA, *[a_message(TEA) for _ in range(4)], a_message(BOB))
    await told(store, ADA, *[a_message(TEA, owned=False) for _ in range(2)])
    await written(store, TEA, ABSENT, rights=[OwnedRight(rights[0].id, aside=True)])
    assert await store.waiting(TEA.address, 10, owned=True) == 3
    assert await store.waiting(TEA.address, 2, owned=True) == 2
    assert await store.waiting(BOB.address, 10, owned=False) == 0
    assert await store.waiting("shop.sender", 10, owned=False) == 2


async def test_people_see_all_rows_or_those_of_one_address_the_first_told_first(store: StateStore):
    rights = await told(store, ADA, a_message(TEA), a_message(BOB), a_message(TEA, delay=60.0))
    await written(store, TEA, ABSENT, rights=[OwnedRight(rights[0].id, aside=True)])
    ids = [right.id for right in rights]
    assert [row.id for row in await store.outbox()] == ids
    assert [row.id for row in await store.outbox(limit=2)] == ids[:2]
    shown = await store.outbox(TEA.address)
    assert [(row.id, row.dead) for row in shown] == [(ids[0], True), (ids[2], False)]


async def test_rows_that_wait_may_be_given_to_another_key_in_their_order(store: StateStore):
    rights = await told(store, ADA, a_message(TEA), a_message(TEA), a_message(TEA))
    await written(store, TEA, ABSENT, rights=[OwnedRight(rights[0].id, aside=True)])
    await store.put_off([rights[1].id], 0.0, tried=True)
    rows = [replace(row, to=BOB) for row in await store.outbox()]
    assert await store.readdress(rows) == 2
    assert await store.readdress([]) == 0
    given = await store.rows([rights[1].id])
    assert [(row.to, row.tries) for row in given] == [(BOB, 0)]
    assert await store.standing(TEA, rights[1:]) == [GONE, GONE]
    assert [each.state for each in await store.standing(BOB, rights[2:])] == ["early"]
    relayed = [replace(row, to=StateKey("topic"), owned=False, channel="c") for row in given]
    assert await store.readdress(relayed) == 1
    assert [row.channel for row in await store.unconfirmed(["shop.sender"], 0.0, 9)] == ["c"]
    assert [each.state for each in await store.standing(BOB, rights[2:])] == ["stands"]


async def test_the_backlog_says_what_waits_for_whom(store: StateStore):
    rights = await told(store, ADA, a_message(ADA), a_message(BOB), a_message(TEA, delay=60.0))
    await told(store, ADA, a_message(StateKey("shop.cart"), owned=False))
    await written(store, ADA, ABSENT, rights=[OwnedRight(rights[0].id, aside=True)])
    found = [(each.address, each.owned, each.waiting, each.dead) for each in await store.backlog()]
    assert sorted(found) == [
        ("shop.cart", False, 1, 0),
        ("shop.cart", True, 1, 1),
        ("shop.stock", True, 1, 0),
    ]
    overdue = {each.address: each.overdue for each in await store.backlog() if each.owned}
    assert overdue["shop.stock"] == 0.0
    assert overdue["shop.cart"] >= 0.0
    assert (await store.sizes()).outbox == 4


# -- outcomes that nobody heard -----------------------------------------------------


async def test_a_commit_that_keeps_the_state_shuts_out_what_is_still_under_way(store: StateStore):
    """What never landed cannot any more: its version does not fit."""
    version = await written(store, ADA, ABSENT, b"one")
    lost = a_commit(ADA, version, b"two")
    assert isinstance(await outcome_of(store, ADA, version, KEEP), Committed)
    [outcome] = await store.commit([lost])
    assert isinstance(outcome, CommitLost)
    assert (await store.load([ADA]))[0].state == b"one"


async def test_a_commit_that_landed_is_known_by_its_id(store: StateStore):
    version = await written(store, ADA, ABSENT, b"one")
    landed = a_commit(ADA, version, b"two")
    await store.commit([landed])
    outcome = await outcome_of(store, ADA, version, KEEP)
    assert isinstance(outcome, CommitLost)
    assert outcome.id == landed.id
    ended = a_commit(ADA, outcome.version, END)
    await store.commit([ended])
    outcome = await outcome_of(store, ADA, outcome.version, KEEP)
    assert isinstance(outcome, CommitLost)
    assert outcome.id == ended.id


# -- opening ----------------------------------------------------------------------


async def test_a_store_of_another_namespace_is_refused(clients: Clients, store: StateStore):
    with pytest.raises(ConfigError, match="namespace 'tests'"):
        await clients.open("production")
    assert store.info.namespace == "tests"


async def test_who_only_looks_makes_nothing_and_may_be_of_any_namespace(clients: Clients):
    for _twice in range(2):
        looking = clients.place.client()
        with pytest.raises(ConfigError, match="there is no store in it"):
            await looking.open(None)
        await looking.close()
    store = await clients.open("production")
    looking = clients.place.client()
    assert await looking.open(None) == store.info
    await looking.close()


async def test_every_client_finds_the_same_store(clients: Clients, store: StateStore):
    other = await clients.open()
    assert other.info == store.info
    assert len(store.info.id) == 16


async def test_in_a_new_epoch_no_version_of_the_lost_past_comes_again(store: StateStore):
    version = await written(store, ADA, ABSENT, b"s")
    lost = version + 1_000_000  # given out before, and not known any more
    await store.accept()
    assert await written(store, ADA, version, b"t") > lost
    assert await written(store, BOB, ABSENT, b"u") > lost


async def test_accepting_that_it_went_back_begins_an_epoch(clients: Clients, store: StateStore):
    before = store.info
    accepted = await store.accept()
    assert accepted.epoch == before.epoch + 1
    assert (accepted.id, store.info) == (before.id, accepted)
    assert (await clients.open()).info == accepted


async def test_who_was_there_before_learns_of_an_epoch_with_its_next_commit(
    clients: Clients, store: StateStore
):
    await written(store, ADA, ABSENT, b"one")
    accepted = await (await clients.open()).accept()
    await written(store, BOB, ABSENT, b"two")
    assert store.info == accepted


async def test_who_looks_learns_of_an_epoch_without_a_commit(clients: Clients, store: StateStore):
    accepted = await (await clients.open()).accept()
    assert (await store.look(), store.info) == (accepted, accepted)


async def test_a_store_that_is_closed_says_so(store: StateStore):
    assert store.health().ok
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable) as caught:
        await store.load([ADA])
    assert (caught.value.kind, caught.value.outcome) == ("away", "not sent")
