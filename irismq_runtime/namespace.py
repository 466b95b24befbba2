"""A namespace: names of its own on servers that it shares, as of staging beside production.

In the namespace "staging" the name "shop.cart" is "irismq.in.staging.shop.cart" on the wire:
NSQ's topics, and Iris's clusters and topics, those of the runtime itself among them. So
nothing of one namespace is heard in another. What is above a transport has the names
inside; the transports (and signatures, which are for a place on the wire) put them into the
namespace, and nobody else does. Without a namespace every name is as it is; no address
begins like a name of a namespace (`ADDRESS`), so none can reach into one.

Pure, and part of the wire format (docs/protocol.md, Namespaces).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from actors.rules import Rule, text
from irismq_runtime.errors import ConfigError

__all__ = ["ADDRESS", "NAMESPACE", "PREFIX", "Namespace"]

#: How all names of all namespaces begin.
PREFIX: Final = "irismq.in."
#: With the prefix it fits, whole, into the 28 characters that are kept of a long topic.
_LONGEST: Final = 16
_NAME: Final = re.compile(rf"(?:[A-Za-z0-9_-]{{1,{_LONGEST}}})?\Z")

#: What a namespace may be called; "" is that of all who name none.
NAMESPACE: Final = Rule(
    f"a namespace: 1 to {_LONGEST} of A-Z a-z 0-9 _ -, or empty",
    lambda value: isinstance(value, str) and _NAME.match(value) is not None,
)
_TEXT: Final = text(1)
#: What an address, or a topic of events, may be.
ADDRESS: Final = Rule(
    f"a text that is not empty (and {PREFIX} begins the names of namespaces alone)",
    lambda value: _TEXT.takes(value) and not value.startswith(PREFIX),
)


class Namespace:
    """The names of the namespace `name`; "" is that of all who have none.

    Raises `ConfigError` for what is no name of 1 to 16 letters, digits, `_` and `-`.
    """

    __slots__ = ("_prefix", "name", "topic")

    def __init__(self, name: str = "") -> None:
        if complaint := NAMESPACE.complaint(name):
            raise ConfigError("namespace", complaint, "a topic of NSQ has 64 characters at most")
        self.name = name
        self._prefix = f"{PREFIX}{name}." if name else ""
        #: Gives the topic of NSQ on the wire of one inside: the prefix before it, and as
        #: any address shortened where that is too long.
        self.topic = lru_cache(maxsize=4096)(self._topic) if name else str

    def __bool__(self) -> bool:
        return bool(self.name)

    def _topic(self, topic: str) -> str:
        # Here, as the rules above are needed where no protocol is: by each command's options.
        from irismq_runtime.protocols.nsq import mailbox_topic

        return mailbox_topic(self._prefix + topic)

    def cluster(self, name: str) -> str:
        """Return the cluster or topic of Iris on the wire of one inside."""
        return self._prefix + name

    def inside(self, topic_untrusted: str) -> str | None:
        """Return how a topic of a broker is called inside; None: it is of another namespace.

        Of one that was shortened it is what is left of the name, so compare with that of
        the topic that is meant (`shown`).
        """
        if not self.name:
            return None if topic_untrusted.startswith(PREFIX) else topic_untrusted
        if not topic_untrusted.startswith(self._prefix):
            return None
        return topic_untrusted.removeprefix(self._prefix)

    def shown(self, topic: str) -> str:
        """Return what `inside` gives for a topic of this namespace, at a broker."""
        return self.topic(topic).removeprefix(self._prefix)

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"
