"""Asks that have an id: one run, one answer, however often it is asked.

    not known     the handler runs, and its answer is committed with what it did
    in hand       who asks again waits for the same answer
    answered      the kept answer, as long as it is kept (`ANSWERS_KEPT`)
    forgotten     refused: there was an answer, and it is not handled a second time

What is kept is what the handler returned, or refused. A crash and a cancelled handler leave
nothing: who asks again has it run again. An id is for one question: another one under it is
refused. Who gives up waiting does not cancel the handler, since somebody may ask again.
Loop thread only.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors import Outcome, Refused
from irismq_runtime.dispatch import AskDelivery
from irismq_runtime.durability.kept_answers import read, refused, returned
from irismq_runtime.errors import DecodeError, EncodeError, MessageTooLarge
from irismq_runtime.ports.state_store import AnswerRight

if TYPE_CHECKING:
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports.state_store import KeptAnswer, StateKey

__all__ = ["ANSWERS_KEPT", "AskedIds", "question_of"]

#: Seconds for which an answer is kept.
ANSWERS_KEPT: Final = 3_600.0
#: Characters that an id may have: it is a part of a key in the store.
_LONGEST_ID: Final = 200
_encode: Final = msgspec.msgpack.Encoder().encode


class _InHand:
    """A question whose handler runs, or is not committed; and who else waits for its answer."""

    __slots__ = ("digest", "others")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.others: list[AskDelivery] = []


def question_of(item: Any) -> tuple[str, bytes] | None:
    """The id of an ask and the digest of its body; None: it has no id, or is no ask."""
    if not isinstance(item, AskDelivery):
        return None
    given = item.question
    if given is None:
        return None
    ask_id, envelope = given
    parts = _encode((envelope.type, envelope.headers.get("c"), envelope.body))
    return ask_id, blake2b(parts, digest_size=16).digest()


class AskedIds:
    """The questions in hand of one activation."""

    __slots__ = ("_engine", "_in_hand", "_key")

    def __init__(self, engine: DurableEngine, key: StateKey) -> None:
        self._engine = engine
        self._key = key
        self._in_hand: dict[str, _InHand] = {}

    @property
    def are_in_hand(self) -> bool:
        """Whether there are any."""
        return bool(self._in_hand)

    async def look(self, item: AskDelivery, ask_id: str, digest: bytes) -> bool:
        """Whether the handler is to run; False: the ask is answered, or will be.

        Raises `StoreUnavailable`.
        """
        if not 0 < len(ask_id) <= _LONGEST_ID or "\0" in ask_id:
            text = f"an id of an ask has 1 to {_LONGEST_ID} characters, and no NUL"
            item.fail(Outcome("refused", error=Refused(text, code="bad-id")))
            return False
        in_hand = self._in_hand.get(ask_id)
        if in_hand is not None:
            if in_hand.digest == digest:
                in_hand.others.append(item)
            else:
                item.fail(_another(ask_id))
            return False
        kept = await self._engine.store.kept_answer(self._key, ask_id)
        if kept is None:
            self._in_hand[ask_id] = _InHand(digest)
            return True
        if kept.digest != digest:
            item.fail(_another(ask_id))
        elif kept.answer:
            self._give(item, kept)
        else:
            item.fail(_forgotten(ask_id))
        return False

    def _give(self, item: AskDelivery, kept: KeptAnswer) -> None:
        try:
            answer = read(self._engine.packer.serializer, kept.answer)
        except Refused as error:
            item.fail(Outcome("refused", error=error))
        except DecodeError as error:
            item.fail(Outcome("refused", error=Refused(f"its kept answer is unreadable: {error}")))
        else:
            item.reply(answer)

    def right(self, ask_id: str, digest: bytes, value: Any) -> AnswerRight | None:
        """What keeps the answer `value`; None for one that cannot be written."""
        try:
            answer = returned(self._engine.packer.serializer, value)
        except (EncodeError, MessageTooLarge):  # its asker is told so, and nobody else
            return None
        return AnswerRight(ask_id, digest, answer, ANSWERS_KEPT)

    def refusal(self, ask_id: str, digest: bytes, error: BaseException) -> AnswerRight:
        """What keeps the answer that the handler has refused."""
        return AnswerRight(ask_id, digest, refused(error), ANSWERS_KEPT)

    def done(self, ask_id: str) -> list[AskDelivery]:
        """The question is not in hand any more; give those who wait for its answer as well."""
        in_hand = self._in_hand.pop(ask_id, None)
        return [] if in_hand is None else in_hand.others

    def let_go(self) -> list[AskDelivery]:
        """Nothing is in hand any more; give all who wait for the answer of somebody else's ask."""
        in_hand, self._in_hand = self._in_hand, {}
        return [each for one in in_hand.values() for each in one.others]


def _forgotten(ask_id: str) -> Outcome:
    text = (
        f"the ask {ask_id!r} was handled, and its answer is not kept any more; look at what it "
        "did, or ask under a new id to have it done once more"
    )
    return Outcome("refused", error=Refused(text, code="answer-forgotten"))


def _another(ask_id: str) -> Outcome:
    text = f"the id {ask_id!r} is that of another question; give each question an id of its own"
    return Outcome("refused", error=Refused(text, code="another-question"))
