"""What can go wrong with durable actors beyond what the store says of itself."""

from __future__ import annotations

from irismq_runtime.errors import RuntimeFault

__all__ = ["NotInUnit", "ReceiptNotDone", "StateTooLarge", "StateUnreadable"]


class StateTooLarge(RuntimeFault):
    """A state is over the limit of its class; the handler's changes are undone.

    Attributes:
        address: Whose state.
        size: Its bytes.
        limit: The bytes that it may have (`state_limit` of the class).
    """

    blame = "caller"

    def __init__(self, address: str, size: int, limit: int) -> None:
        self.address = address
        self.size = size
        self.limit = limit
        super().__init__(
            f"the state of {address!r} would have {size:,} bytes, over its limit of {limit:,}; "
            "keep what grows in tables of your own (self.sql), or set state_limit on the class"
        )


class StateUnreadable(RuntimeFault):
    """A stored state cannot be read by this code; nothing was changed.

    Attributes:
        address: Whose state.
        reason: What is wrong.
        newer: Whether newer code has written it, which may run elsewhere.
    """

    blame = "configuration"

    def __init__(self, address: str, reason: str, *, newer: bool = False) -> None:
        self.address = address
        self.reason = reason
        self.newer = newer
        super().__init__(
            f"the stored state of {address!r} cannot be read here: {reason}; run the code that "
            "wrote it, or newer code whose type takes it"
        )


class NotInUnit(RuntimeFault):
    """Code of a durable actor told or changed something that belongs to no message.

    What is told is staged with the message whose handler tells it. A task that has outlived
    its handler, a stream and a hook have none.

    Attributes:
        what: What was tried.
    """

    blame = "caller"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"{what} outside of a handler belongs to no commit; do it in a handler (tell the actor "
            "itself a message), or write `with outside():` around it to go past the outbox"
        )


class ReceiptNotDone(RuntimeFault):
    """A handler awaits the receipt of what it told itself: it is done after the handler.

    Attributes:
        id: The id of the message, 16 bytes.
    """

    blame = "caller"

    def __init__(self, id: bytes) -> None:  # noqa: A002  # the field's name on the wire
        self.id = id
        super().__init__(
            "this message leaves when its handler has returned and is committed, so its receipt "
            "cannot be awaited in the handler; leave the receipt alone, or write "
            "`with outside():` around the tell to send it now"
        )
