"""`PartitionSupervisor`: N like children, and each message goes to the one for its key.

Messages with the same key are handled by the same child, one at a time, in the order
in which they came, across its restarts too. A stored message that goes back to its broker
(after a crash or a `Retry`, or because there was no room for it) has its place when it
comes again: those behind it do not wait for it.
What is told to the supervisor's ref is passed on at once: the child answers asks
itself, and its supervisor waits for nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from actors import Refused, rules, runtime
from actors.class_options import known_option
from actors.texts import class_name
from supervisors._base import Supervising
from supervisors._policy import Options, checked_policy, take_options
from supervisors.errors import SpecError
from supervisors.spec import ChildSpec, as_spec, check_children

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Unpack

    from actors import ActorRef
    from actors.runtime import Slot
    from supervisors._state import Policy

__all__ = ["PartitionSupervisor", "partition"]


class PartitionSupervisor(Supervising):
    """N children of one kind, `partitions` (default: one per core) of them.

        class Accounts(PartitionSupervisor):
            child = child(Ledger, "bank.db")
            partitions = 8

            def key(self, message):
                return message.account

    or `PartitionSupervisor.of(child(Ledger, "bank.db"), partitions=8, key=...)`.
    A key that is an int chooses by remainder, any other by its hash: within this
    process, the same key is always the same child. A message whose key cannot be had,
    because `key` raises or its result has no hash, fails alone.
    """

    # Everything that is sent to the children passes here: what `key` raises must not
    # end all of them.
    __enduring__ = True

    child: Any = None
    partitions: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        checked_policy(cls)
        if cls.child is not None:
            _checked(cls.child, cls.partitions)

    def __init__(
        self,
        child: ChildSpec | type[Any] | None = None,
        *,
        partitions: int | None = None,
        key: Callable[[Any], Hashable] | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        if child is not None:
            self.child = child
        if partitions is not None:
            self.partitions = partitions
        if key is not None and not callable(key):
            raise SpecError("invalid_key", key, "key is a function that gets a message")
        self._key = key
        self._names: tuple[str, ...] = ()
        take_options(self, options, Options.__optional_keys__)

    @classmethod
    def of(
        cls,
        child: ChildSpec | type[Any],
        *,
        partitions: int | None = None,
        key: Callable[[Any], Hashable] | None = None,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> ChildSpec:
        """Make a partitioned supervisor as a value: to be started, or to be a child of another.

        Args:
            child: What each partition is: a `child(...)` or a class.
            partitions: How many; None: one for each core.
            key: Gets a message and gives its key; None: the message's attribute `key`.
            name: Its name; None: that of the class.
            options: As the attributes of `Supervisor`.

        Returns:
            The value.

        Raises:
            SpecError: the child or an option is not right.
        """
        made = cls(child, partitions=partitions, key=key, **options)
        made.policy()
        made.specs()
        arguments = {"partitions": partitions, "key": key, **options}
        return ChildSpec(cls, (child,), arguments, name or "")

    def key(self, message: Any) -> Hashable:
        """Return the key of a message.

        Args:
            message: What was sent to the supervisor's ref.

        Returns:
            What `key=` gives for it, else its attribute `key`.

        Raises:
            Refused: it has no such attribute. What this raises fails this message alone.
        """
        if self._key is not None:
            return self._key(message)
        try:
            key: Hashable = message.key
        except AttributeError:
            kind = type(message).__name__
            raise Refused(f"{kind} has no attribute 'key'", code="no_key") from None
        return key

    def policy(self) -> Policy:
        """See `Supervising.policy`."""
        return checked_policy(self)

    def specs(self) -> tuple[ChildSpec, ...]:
        """The same child, once per partition."""
        specs = _checked(self.child, self.partitions)
        self._names = tuple(spec.name for spec in specs)
        return specs

    def slot_for(self, key: Hashable) -> Slot:
        """Return the slot of the child for a key. Any thread.

        Args:
            key: An int chooses by remainder, a str and bytes by their CRC-32, so that a key has
                the same child in every process; anything else by its hash.

        Raises:
            Refused: it is not hashable, or the partition has not started or has ended.
        """
        executor = self._executor
        if executor is None:
            raise Refused("the partitions have not started", code="not_started")
        try:
            place = _number_of(key) % len(self._names)
        except BaseException as error:
            # A key's own `__hash__` may do anything.
            kind = class_name(key)
            raise Refused(f"a key must be hashable, {kind} is not", code="bad_key") from error
        slot = executor.slots.get(self._names[place])
        if slot is None:
            raise Refused(f"partition {place} has ended", code="partition_down")
        return slot

    def on_receive(self, message: Any) -> None:
        """Pass a message on to the child for its key.

        Args:
            message: What was sent to the supervisor's ref.
        """
        self.forward(self.slot_for(self.key(message)).ref)


def _number_of(key: Hashable) -> int:
    if isinstance(key, int):
        return key
    # Of subclasses, which may say what they are equal to, their own hash.
    if type(key) is str:
        return crc32(key.encode("utf-8", "surrogatepass"))
    return crc32(key) if type(key) is bytes else hash(key)


def partition(supervisor: ActorRef[Any], key: Hashable) -> ActorRef[Any]:
    """Return the child for a key itself: one step less for who tells it much. Any thread.

    Args:
        supervisor: The ref of a `PartitionSupervisor`.
        key: As `PartitionSupervisor.key` gives it.

    Returns:
        The child's ref. It stays valid across the child's restarts, not across those of the
        supervisor.

    Raises:
        Refused: the partitions have not started, or the key is not hashable.
    """
    actor = runtime.slot_of(supervisor).actor
    if not isinstance(actor, PartitionSupervisor):
        raise Refused("the partitions have not started", code="not_started")
    return actor.slot_for(key).ref


known_option(
    "child",
    rules.Rule("a child", lambda value: isinstance(value, ChildSpec)),
    owner=PartitionSupervisor,
)
_PARTITIONS: Final = rules.count(1, 100_000)


def _checked(child: Any, partitions: int | None) -> tuple[ChildSpec, ...]:
    if child is None:
        raise SpecError("missing_child", child, "say what a partition is: child = child(...)")
    count: Any = os.cpu_count() or 1 if partitions is None else partitions
    if not _PARTITIONS.takes(count):
        raise SpecError("invalid_partitions", partitions, _PARTITIONS.wanted)
    spec = as_spec(child, "child")
    return check_children(
        [replace(spec, name=f"{spec.name}-{place}", instances=1) for place in range(count)]
    )
