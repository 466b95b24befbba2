"""The third port of a node: what a store of durable state must do, and nothing of how.

A store keeps, for each key, one state and its version; messages that wait to be
handled or confirmed (*outbox rows*); the ids of what was handled for senders that
have no row here; and answers that were promised to be the same again. It decides who
may write: leases and presence say who *should* work on a key, a version says who *can*.

A *commit* is about one key. It names the version that was loaded and the rights that
its messages had, and it is all or nothing: where the version fits and every right
stands, the rights are used up, the state is written and the outbox rows are there, in
one transaction; otherwise nothing of it is written. Several commits, each about
another key, share one transaction and do not share their fate.

The suite in tests/contracts/test_state_store.py holds every implementation to these
words. All of it runs on the node's event loop. States, envelopes and answers are opaque
bytes. Delays are seconds from now by the *store's* clock, points in time are seconds
since the epoch by that clock: clocks of hosts are not compared. Every call that needs
the store raises `StoreUnavailable` when it does not do what was asked, and says whether
it may have been done. A call that is cancelled after it reached the store may have been
done too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from irismq_runtime.ports import TransportHealth

__all__ = [
    "ABSENT",
    "END",
    "KEEP",
    "LATER",
    "MAX_STAGED",
    "RESULTS",
    "RESULTS_KNOWN",
    "VERSION_LEAP",
    "AnswerRight",
    "CommitInvalid",
    "CommitLost",
    "CommitOutcome",
    "Committed",
    "HandledRight",
    "KeptAnswer",
    "KeptResult",
    "OutboxBacklog",
    "OutboxRow",
    "OwnedRight",
    "Right",
    "RightState",
    "RightsGone",
    "StagedMessage",
    "StateChange",
    "StateCommit",
    "StateKey",
    "StateStore",
    "StoreInfo",
    "StoreSizes",
    "StoreTransaction",
    "StoredState",
    "right_name",
    "row_number",
]

#: The version of a key that nothing was ever written for, or nothing is left of.
ABSENT: Final = 0
#: Messages that one commit may stage, at most; see `row_number`.
MAX_STAGED: Final = 1 << 16

#: The channel of an owned message that nobody publishes before it is due, see `StateStore.due`.
LATER: Final = "later"

#: How far the versions leap when a new epoch begins: more commits than can have been lost, so that
#: no version, and no number of a row, comes a second time. A store has room for 32,767 leaps.
VERSION_LEAP: Final = 1 << 32

#: What a commit does to the state, where it is not new bytes: leaves it as it is,
KEEP: Final = "keep"
#: or ends it, so that the next life of the key begins with the defaults.
END: Final = "end"
#: new bytes, or one of the two.
StateChange = bytes | Literal["keep", "end"]


class StateKey(NamedTuple):
    """Whose state: the address of its type, and its key in it ("" for one state per address)."""

    address: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class StoredState:
    """What is stored for a key now.

    `version`: `ABSENT`, or a number that this key never had before and will never have
    again, in no life of it. `state`: None where a life begins: nothing was written, or
    the last one has ended. `commit`: the id of the commit that wrote `version`.
    """

    key: StateKey
    version: int = ABSENT
    state: bytes | None = None
    commit: bytes = b""


#: Under which key results are kept, among the answers: by the ids of their messages, in hex.
RESULTS: Final = StateKey("irismq.results")
#: Seconds after its time for which it is known that there was a result: there may be many.
RESULTS_KNOWN: Final = 3_600.0


# Rights ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OwnedRight:
    """To handle a message that has an outbox row here: the row itself, used up by its end.

    It stands while the row waits, is meant for this key, and no earlier row of its
    sender to this key waits, unless that row's right stands before it in the same
    commit. `number`: that of the row, as its envelope tells it (0: it does not); a
    store whose versions have not come so far has lost what it once had.
    `aside`: the message is given up: its row stays, as dead, until it is
    forgotten or revived.
    """

    id: bytes
    number: int = 0
    aside: bool = False


@dataclass(frozen=True, slots=True)
class HandledRight:
    """To handle a message of a sender that has no row here: it is noted as handled.

    It stands while `id` of `channel` is not noted for this key, which `StateStore.tidy`
    ends. `id`: any bytes that identify the message in its channel. `repeats`: it may come
    again as long as `tidy` keeps it; otherwise `forget_handled` ends it as well.
    """

    channel: str
    id: bytes
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class AnswerRight:
    """To answer an ask that has an id: the answer is kept for `keep` seconds.

    It stands while no answer was given for `id` at this key, as far back as the store
    remembers: when an answer is not kept any more, it is still known that there was one.
    `digest` is that of the question: who asks the same id something else is told so by it.
    """

    id: str
    digest: bytes
    answer: bytes
    keep: float


#: What a message is handled by, once.
Right = OwnedRight | HandledRight | AnswerRight


def right_name(right: Right) -> tuple[object, ...]:
    """What a right has in common with another that is used up together with it."""
    if isinstance(right, HandledRight):
        return (right.channel, right.id)
    return (type(right), right.id)


@dataclass(frozen=True, slots=True)
class RightState:
    """What became of a right so far.

    `"stands"`: it may be used. `"gone"`: it was used, or its row was forgotten.
    `"early"`: an earlier row of its sender to this key waits: `StateStore.rows_between`.
    `"dead"`: its row was put aside. `tries`: failed tries that the row knows of.
    """

    state: Literal["stands", "gone", "early", "dead"]
    tries: int = 0


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """The answer that was given to an ask with an id; see `AnswerRight`.

    `answer`: b"" where it is not kept any more.
    """

    digest: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class KeptResult:
    """What came of the stored message `id`, for whoever waits for it.

    `kept_answer` of `RESULTS` gives it for `keep` seconds. It takes the place of an earlier one,
    and is no right: a commit stands or falls without it.
    """

    id: bytes
    result: bytes
    keep: float


# Commits ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StagedMessage:
    """A message that leaves with a commit, as the row that it becomes.

    `owned`: it is for one durable address of this store, whose commit deletes the row;
    otherwise whoever publishes it forgets the row once a broker has confirmed it.
    `to`: for an owned one the key that handles it, else the topic (and "").
    `channel`: the channel that must exist, as in `MailboxTransport.publish`.
    `delay`, `expires`: seconds from the commit; it is not due before, and of no
    use after (None: always of use). An owned message takes part in the order of its
    sender to its key, unless it is delayed or not `ordered`.
    """

    id: bytes
    to: StateKey
    envelope: bytes
    owned: bool = True
    channel: str = ""
    delay: float = 0.0
    expires: float | None = None
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class StateCommit:
    """All that some messages of one key do, in the order in which they were handled.

    `version`: that of the `StoredState` it rests on. `id`: 16 bytes that no other
    commit has, by which an outcome that nobody heard is found out. A commit that has
    `KEEP`, no rights and nothing staged still raises the version: where it fits, no
    earlier commit on the same version can land any more. The ids of `results` differ.
    """

    key: StateKey
    version: int
    id: bytes
    state: StateChange = KEEP
    rights: Sequence[Right] = ()
    staged: Sequence[StagedMessage] = ()
    results: Sequence[KeptResult] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """It is written, and survives whatever the store survives.

    `version`: what the next commit of this key rests on. The row of `staged[n]` has the
    number `row_number(version, n)`.
    """

    version: int


@dataclass(frozen=True, slots=True)
class CommitLost:
    """Nothing is written: the key has another version by now, that of the commit `id`.

    `ABSENT` and b"" where nothing is left of it.
    """

    version: int
    id: bytes


@dataclass(frozen=True, slots=True)
class RightsGone:
    """Nothing is written: some rights do not stand. `rights`: the state of each, in order."""

    rights: tuple[RightState, ...]


@dataclass(frozen=True, slots=True)
class CommitInvalid:
    """Nothing is written: the store cannot hold what was given; `error` says why.

    Only this commit has failed, not those that shared its transaction.
    """

    error: Exception


#: What became of a commit.
CommitOutcome = Committed | CommitLost | RightsGone | CommitInvalid


def row_number(version: int, index: int) -> int:
    """The number of the `index`-th message that the commit of `version` staged.

    Numbers of one sender grow in the order in which it told.
    """
    return version * MAX_STAGED + index


# Outbox rows -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message that waits in the store; see `StagedMessage` for what is not said here.

    `sender`: whose commit staged it. `number`: see `row_number`. `ordered`: whether it
    takes part in the order of its sender to its key. `due`, `expires`: points in time.
    `tries`: how often it was put off after a failure.
    """

    id: bytes
    sender: StateKey
    to: StateKey
    envelope: bytes
    owned: bool
    channel: str
    number: int
    ordered: bool
    due: float
    expires: float | None
    tries: int
    dead: bool


@dataclass(frozen=True, slots=True)
class OutboxBacklog:
    """What waits in the outbox for one address or topic.

    `overdue`: seconds since the oldest waiting row became due; 0.0 when none has.
    """

    address: str
    owned: bool
    waiting: int
    dead: int
    overdue: float


# The store -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store is.

    `url`: where it is, without any password. `id`: 16 bytes, drawn when it was made.
    `epoch`: grows each time that somebody accepted that the store may have gone back in
    time; "no row" says that a message was handled within one epoch only.
    """

    url: str
    id: bytes
    epoch: int
    namespace: str


@dataclass(frozen=True, slots=True)
class StoreSizes:
    """How many rows are kept beside the states, dead outbox rows among them."""

    outbox: int
    handled: int


class StoreTransaction(Protocol):
    """A transaction of one's own, for tables that are not the store's: `self.sql()`.

    It ends with `commit` or `rollback`, once. After the time that it was given it is
    rolled back by itself, and every call raises `StoreUnavailable` (kind "late").
    Whatever the database finds wrong with a statement is raised as the driver's own
    error; serialization failures are `StoreUnavailable` (kind "conflict").
    """

    async def execute(self, statement: str, *values: Any) -> int:
        """Run a statement; the number of rows that it changed."""
        ...

    async def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a query; all its rows."""
        ...

    async def commit(self, commit: StateCommit) -> CommitOutcome:
        """Commit what was done here together with `commit`, or neither of them.

        Raises `StoreUnavailable` (kind "ended") when the statements ended the
        transaction themselves: what they did is out of our hands.
        """
        ...

    async def rollback(self) -> None:
        """Undo what was done here. Idempotent; does nothing after `commit`."""
        ...


class StateStore(Protocol):
    """Durable state: a version per key, and the outbox in the same transaction."""

    async def open(self, namespace: str | None = "") -> StoreInfo:
        """Connect, and bring the tables to the form that this code knows.

        A store that is empty becomes that of `namespace`. With None nothing is made or
        migrated, and the store may be of any namespace: for who looks at it.

        Raises:
            ConfigError: The store belongs to newer code or another namespace, or does
                not keep what it has confirmed (a setting of its server). With None: there
                is none, or it has an older form.
            NotConnected: It does not answer, or refuses the login.
        """
        ...

    async def close(self) -> None:
        """End what runs, and close. Idempotent."""
        ...

    @property
    def info(self) -> StoreInfo:
        """What `open` returned, in the epoch that was seen last."""
        ...

    async def look(self) -> StoreInfo:
        """What the store is now: somebody else may have begun a new epoch."""
        ...

    def health(self) -> TransportHealth:
        """What the last calls say of the store; nothing is asked for it."""
        ...

    async def accept(self) -> StoreInfo:
        """Begin a new epoch: the store may have gone back in time, and that is known.

        Versions go on `VERSION_LEAP` higher: none that was given out and lost comes again.
        """
        ...

    async def load(self, keys: Sequence[StateKey]) -> list[StoredState]:
        """What is stored for each of `keys`, in their order."""
        ...

    async def scan(self, address: str, after: str, limit: int) -> list[StoredState]:
        """What is stored under `address`: keys behind `after`, by their bytes, `limit` of them.

        Keys whose life has ended are left out.
        """
        ...

    async def commit(self, commits: Sequence[StateCommit]) -> list[CommitOutcome]:
        """Make all `commits` in one transaction; the outcome of each, in their order.

        Raises:
            ValueError: Two commits have the same key, one stages over `MAX_STAGED`
                messages, or one has the same right twice.
            StoreUnavailable: None is written (`outcome` "not sent"), or all that could
                be may be (`outcome` "unknown"). Then a commit on the same version that
                keeps the state, with an id of its own, settles it: `Committed` says
                that the unknown one never lands; `CommitLost` says by its id whether
                it has.
        """
        ...

    async def begin(self, timeout: float) -> StoreTransaction:
        """Begin a transaction of one's own, which has `timeout` seconds.

        Other commits may wait for it: on SQLite all of them do.
        """
        ...

    # -- rights -------------------------------------------------------------

    async def standing(self, key: StateKey, rights: Sequence[Right]) -> list[RightState]:
        """How each right of `key` stands now, before anything is done for it.

        A right that stands in `rights` before another counts as used up by then.
        """
        ...

    async def kept_answer(self, key: StateKey, ask_id: str) -> KeptAnswer | None:
        """The answer that is kept for the ask `ask_id` of `key`."""
        ...

    async def forget_handled(
        self, address: str, channel: str, age: float, limit: int = 1000
    ) -> int:
        """Forget ids of a channel of `address` that are `age` seconds old; how many went.

        At most `limit`, and none that `repeats`.
        """
        ...

    # -- outbox rows ----------------------------------------------------------

    async def rows(self, ids: Sequence[bytes]) -> list[OutboxRow]:
        """Those rows of `ids` that exist, waiting or dead."""
        ...

    async def rows_between(
        self, sender: StateKey, to: StateKey, before: int, limit: int
    ) -> list[OutboxRow]:
        """What waits in the order of `sender` to `to` below the number `before`, first ones first.

        Whether it is due does not matter.
        """
        ...

    async def missing(self, address: str, overdue: float, limit: int) -> list[OutboxRow]:
        """Owned rows for `address` that wait, `overdue` seconds past due, oldest first."""
        ...

    async def due(self, addresses: Collection[str], within: float, limit: int) -> list[OutboxRow]:
        """Owned rows for `addresses` whose channel is `LATER`, due in `within` seconds at most.

        The first to be due come first, `limit` of them.
        """
        ...

    async def release(self, ids: Sequence[bytes], channel: str) -> None:
        """Let these rows have another channel than `LATER`: they are published."""
        ...

    async def unconfirmed(
        self, senders: Collection[str], overdue: float, limit: int
    ) -> list[OutboxRow]:
        """Rows of the addresses `senders` that no broker has confirmed, oldest first."""
        ...

    async def put_off(self, ids: Sequence[bytes], delay: float, *, tried: bool) -> None:
        """Make these rows due in `delay` seconds; `tried`: after a failure, which counts."""
        ...

    async def forget(self, ids: Sequence[bytes]) -> int:
        """Delete these rows: confirmed, expired or dropped by somebody; how many there were."""
        ...

    async def revive(self, ids: Sequence[bytes]) -> int:
        """Let dead rows wait again, due now, without tries and out of order; how many."""
        ...

    async def waiting(self, address: str, limit: int, *, owned: bool) -> int:
        """How many rows wait for `address`, or, not `owned`, those of it that no broker confirmed.

        It counts up to `limit`.
        """
        ...

    async def outbox(self, address: str = "", limit: int = 1000) -> list[OutboxRow]:
        """Rows for an address or topic, of all for "", waiting or dead, those told first first.

        It may read the whole outbox: for people.
        """
        ...

    async def readdress(self, rows: Sequence[OutboxRow]) -> int:
        """Give rows that wait another receiver; how many there were.

        Their `to`, `owned` and `channel` become as given; `tries` begin anew. An ordered one takes
        part in the order of its sender to the new key. All or nothing.
        """
        ...

    async def backlog(self) -> list[OutboxBacklog]:
        """What waits, by address and topic. It reads the whole outbox: for people."""
        ...

    async def sizes(self) -> StoreSizes:
        """How much is kept. It may read all of it, or be an estimate of the database."""
        ...

    async def tidy(self, keep: float, limit: int = 1000) -> bool:
        """Delete what is of no use any more, at most `limit` rows of each kind.

        Ids of handled messages and what is left of ended keys go after `keep` seconds, answers
        after their own, and that there were such `keep` seconds later (results: `RESULTS_KNOWN`
        at most). True: there may be more to delete.
        """
        ...
