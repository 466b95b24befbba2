"""What the store in memory keeps: plain tables, changed all at once by a commit.

No lock and no step is known here: a change is made in one turn of the loop, so that
nobody sees half of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from irismq_runtime.ports.state_store import (
    END,
    RESULTS,
    RESULTS_KNOWN,
    AnswerRight,
    HandledRight,
    KeptAnswer,
    OutboxRow,
    OwnedRight,
    StateCommit,
    StateKey,
    StoredState,
    row_number,
)
from irismq_runtime.stores.decisions import (
    NOTHING,
    Found,
    FoundRow,
    Standing,
    takes_part_in_order,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from irismq_runtime.ports.state_store import Right

__all__ = ["Tables"]


@dataclass(slots=True)
class Tables:
    """All that is committed.

    `written`: when a state was. `handled`: when a message was. `repeats`: of which of them it is
    known that they may come again for long. `answers`: until when
    each is kept. `order`: for each pair of sender and receiver its rows by number.
    """

    namespace: str | None = None
    epoch: int = 1
    version: int = 0
    states: dict[StateKey, StoredState] = field(default_factory=dict)
    written: dict[StateKey, float] = field(default_factory=dict)
    rows: dict[bytes, OutboxRow] = field(default_factory=dict)
    handled: dict[tuple[StateKey, str, bytes], float] = field(default_factory=dict)
    repeats: set[tuple[StateKey, str, bytes]] = field(default_factory=set)
    answers: dict[tuple[StateKey, str], tuple[KeptAnswer, float]] = field(default_factory=dict)
    order: dict[tuple[StateKey, StateKey], dict[int, bytes]] = field(default_factory=dict)

    def copy(self) -> Tables:
        """The same at this moment: a backup."""
        return Tables(
            self.namespace,
            self.epoch,
            self.version,
            dict(self.states),
            dict(self.written),
            dict(self.rows),
            dict(self.handled),
            set(self.repeats),
            dict(self.answers),
            {pair: dict(numbers) for pair, numbers in self.order.items()},
        )

    # -- reading ------------------------------------------------------------

    def found(self, key: StateKey) -> Found:
        """What stands at `key`."""
        stored = self.states.get(key)
        return NOTHING if stored is None else Found(stored.version, stored.commit)

    def standing(self, asked: Iterable[tuple[StateKey, Sequence[Right]]]) -> Standing:
        """What the decision needs to know of the rights of each key."""
        rows: dict[bytes, FoundRow] = {}
        handled = set()
        answered = set()
        for key, rights in asked:
            for right in rights:
                if isinstance(right, OwnedRight):
                    if row := self.rows.get(right.id):
                        rows[row.id] = FoundRow(row.to, row.tries, row.dead, self._previous(row))
                elif isinstance(right, HandledRight):
                    if (noted := (key, right.channel, right.id)) in self.handled:
                        handled.add(noted)
                elif (key, right.id) in self.answers:
                    answered.add((key, right.id))
        return Standing(rows, handled, answered)

    def _previous(self, row: OutboxRow) -> bytes | None:
        found = None
        if row.ordered:
            for number, earlier in self.order[row.sender, row.to].items():
                if number >= row.number:
                    break
                found = earlier
        return found

    def answer(self, key: StateKey, ask_id: str, now: float) -> KeptAnswer | None:
        """The answer that is kept for an ask, without its content if that is not kept any more."""
        kept, until = self.answers.get((key, ask_id), (None, 0.0))
        return kept if kept is None or until > now else replace(kept, answer=b"")

    # -- writing ------------------------------------------------------------

    def write(self, commit: StateCommit, version: int, now: float) -> None:
        """Make a commit that stands."""
        key = commit.key
        self.states[key] = StoredState(key, version, self._state_after(commit), commit.id)
        self.written[key] = now
        for right in commit.rights:
            self._use_up(key, right, now)
        for each in commit.results:
            kept = KeptAnswer(b"", each.result)
            self.answers[RESULTS, each.id.hex()] = (kept, now + each.keep)
        for index, staged in enumerate(commit.staged):
            ordered = takes_part_in_order(staged)
            self.add(
                OutboxRow(
                    id=staged.id,
                    sender=key,
                    to=staged.to,
                    envelope=staged.envelope,
                    owned=staged.owned,
                    channel=staged.channel,
                    number=row_number(version, index),
                    ordered=ordered,
                    due=now + staged.delay,
                    expires=None if staged.expires is None else now + staged.expires,
                    tries=0,
                    dead=False,
                )
            )

    def bad_value(self, commit: StateCommit) -> ValueError | None:
        """What no database can hold, as it would be told there; None: nothing."""
        texts = [*commit.key, *(text for message in commit.staged for text in message.to)]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            return error
        ids = [message.id for message in commit.staged]
        if len(set(ids)) < len(ids) or not self.rows.keys().isdisjoint(ids):
            return ValueError("an outbox row with this id exists")
        return None

    def _state_after(self, commit: StateCommit) -> bytes | None:
        if isinstance(commit.state, bytes):
            return commit.state
        old = self.states.get(commit.key)
        return None if old is None or commit.state == END else old.state

    def _use_up(self, key: StateKey, right: Right, now: float) -> None:
        if isinstance(right, OwnedRight):
            row = self.remove(right.id)
            if right.aside and row is not None:
                self.add(replace(row, dead=True, ordered=False))
        elif isinstance(right, HandledRight):
            self.handled[key, right.channel, right.id] = now
            if right.repeats:
                self.repeats.add((key, right.channel, right.id))
        elif isinstance(right, AnswerRight):
            self.answers[key, right.id] = (KeptAnswer(right.digest, right.answer), now + right.keep)

    def add(self, row: OutboxRow) -> None:
        """Put a row in the outbox. Those of one pair come in the order of their numbers."""
        self.rows[row.id] = row
        if row.ordered:
            pair = self.order.setdefault((row.sender, row.to), {})
            last = next(reversed(pair), 0)
            pair[row.number] = row.id
            if row.number < last:  # it was changed, and is back in its place
                self.order[row.sender, row.to] = dict(sorted(pair.items()))

    def remove(self, row_id: bytes) -> OutboxRow | None:
        """Take a row out; None: there is none."""
        row = self.rows.pop(row_id, None)
        if row is not None and row.ordered:
            pair = self.order[row.sender, row.to]
            del pair[row.number]
            if not pair:
                del self.order[row.sender, row.to]
        return row

    def forget_handled(self, address: str, channel: str, oldest: float, limit: int) -> int:
        """See `StateStore.forget_handled`."""
        old = [
            noted
            for noted, at in self.handled.items()
            if (noted[0].address, noted[1]) == (address, channel)
            and at <= oldest
            and noted not in self.repeats
        ][:limit]
        for noted in old:
            del self.handled[noted]
        return len(old)

    def tidy(self, now: float, keep: float, limit: int) -> bool:
        """See `StateStore.tidy`."""
        oldest = now - keep
        handled = [each for each, at in self.handled.items() if at <= oldest]
        results = now - min(keep, RESULTS_KNOWN)
        answers = [
            each
            for each, (_kept, until) in self.answers.items()
            if until <= (results if each[0] == RESULTS else oldest)
        ]
        ended = [
            key
            for key, stored in self.states.items()
            if stored.state is None and self.written[key] <= oldest
        ]
        for noted in handled[:limit]:
            del self.handled[noted]
            self.repeats.discard(noted)
        for asked in answers[:limit]:
            del self.answers[asked]
        for key in ended[:limit]:
            del self.states[key], self.written[key]
        return any(len(found) > limit for found in (handled, answers, ended))
