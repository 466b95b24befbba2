"""The wills that clients have left with a relay, and when one is carried out.

A will belongs to a client, which may leave it on several connections. It is broadcast
once the last of these was lost without a word, and none has come back for a moment: a
client that dials again is alive. One that said close, or that the relay itself has
dropped, leaves its will unspoken, and so does the whole relay when it goes: it knows
nothing of its clients then. The relay makes up nothing: what it says is what the client
gave it, word for word. Decisions and their one timer; no socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock, TimerHandle
    from irismq_runtime.protocols.iris.last_will import LastWill

__all__ = ["LastWills"]


class _HeldWill:
    """One client's will: the connections that hold it, or the timer since the last was lost."""

    __slots__ = ("holders", "timer", "will")

    def __init__(self, will: LastWill) -> None:
        self.will = will
        self.holders: set[object] = set()
        self.timer: TimerHandle | None = None


class LastWills:
    """The wills of one relay. Loop thread only.

    Args:
        clock: the relay's.
        patience: seconds for which a client whose connections are all lost may come back.
        carry_out: broadcasts a will.
    """

    def __init__(
        self, clock: Clock, patience: float, carry_out: Callable[[LastWill], None]
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._carry_out = carry_out
        self._wills: dict[bytes, _HeldWill] = {}
        #: The token of the will that a connection holds.
        self._tokens: dict[object, bytes] = {}
        self._kept = True

    def __len__(self) -> int:
        return len(self._wills)

    def hold(self, connection: object, will: LastWill) -> None:
        """`connection` leaves a will, in place of the one that it held."""
        if self._tokens.get(connection) != will.token or not will.message:
            self.closed(connection)
        if not will.message or not self._kept:
            return
        held = self._wills.get(will.token)
        if held is None:
            held = self._wills[will.token] = _HeldWill(will)
        held.will = will
        held.holders.add(connection)
        self._tokens[connection] = will.token
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None

    def closed(self, connection: object) -> None:
        """It ends in order, or the relay ends it: that says nothing of its client's life."""
        held = self._without(connection)
        if held is not None and not held.holders:
            del self._wills[held.will.token]

    def lost(self, connection: object) -> None:
        """It was lost without a word."""
        held = self._without(connection)
        if held is not None and not held.holders:
            token = held.will.token
            held.timer = self._clock.call_later(self._patience, self._late, token)

    def begin(self) -> None:
        """The relay has started: wills are kept from now on."""
        self._kept = True

    def forget(self) -> None:
        """The relay ends, or was killed: nothing is carried out, and nothing kept, until `begin`.

        A client that is being told of the end may leave a will all the same.
        """
        self._kept = False
        for held in self._wills.values():
            if held.timer is not None:
                held.timer.cancel()
        self._wills.clear()
        self._tokens.clear()

    def _without(self, connection: object) -> _HeldWill | None:
        token = self._tokens.pop(connection, None)
        if token is None:
            return None
        held = self._wills[token]
        held.holders.discard(connection)
        return held

    def _late(self, token: bytes) -> None:
        self._carry_out(self._wills.pop(token).will)
