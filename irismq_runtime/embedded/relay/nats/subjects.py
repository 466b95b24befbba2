"""Names of clusters and topics as NATS subjects, and back. Pure.

    iris.<net>.q.<cluster>          requests and tunnels, each to one of a queue group
    iris.<net>.c.<cluster>          broadcasts
    iris.<net>.t.<topic>            events
    iris.<net>.a.<relay>.…          what comes back to one relay
    iris.<net>.w.<relay>.<number>   one end of a tunnel; a tunnel has two

Iris names are any bytes, subjects are not. Letters, digits, "-" and "_" stand for
themselves, every other byte is "=" and two hex digits, and the empty name is "=".
A dot inside a cluster or topic stays a dot where a subject may have one, so that
NATS permissions such as iris.*.q.shop.> read well; in a net it never does, so
that no two nets share a subject. A name of more than a thousand encoded characters
has its digest in place: NATS bounds a subject, and nobody reads those back.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["GROUP", "RELAY_ID_BYTES", "Subjects", "decode_name", "encode_name"]

#: The queue group of the members of a cluster.
GROUP: Final = "members"
#: Length of a relay's id; a subject has it in hex.
RELAY_ID_BYTES: Final = 12

_LONGEST: Final = 1_000
_DIGEST_MARK: Final = "=="
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_DOT: Final = ord(".")
_ESCAPE: Final = tuple(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in range(256))
_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9_.-]|=[0-9A-F]{2})+\Z")


def encode_name(name: str, *, dots: bool = True) -> str:
    """The part of a subject that stands for `name`; without dots when they are not wanted.

    Bytes that are no UTF-8 are surrogate escapes in `name`, as protocols/iris has them.
    """
    data = name.encode("utf-8", "surrogateescape")
    if not data:
        return "="
    parts = [_ESCAPE[byte] for byte in data]
    if dots:
        last = len(data) - 1
        for index, byte in enumerate(data):
            # A subject has no empty token: no dot first, last, or after another.
            if byte == _DOT and 0 < index < last and data[index - 1] != _DOT:
                parts[index] = "."
    encoded = "".join(parts)
    if len(encoded) > _LONGEST:
        return _DIGEST_MARK + hashlib.blake2b(data, digest_size=32).hexdigest()
    return encoded


def decode_name(encoded: str) -> str | None:
    """The name that `encoded` stands for; None when that is a digest, or nothing of ours."""
    if encoded == "=":
        return ""
    if not _ENCODED.match(encoded):
        return None
    data = re.sub(
        rb"=([0-9A-F]{2})", lambda found: bytes((int(found[1], 16),)), encoded.encode("ascii")
    )
    name = data.decode("utf-8", "surrogateescape")
    return name if encode_name(name, dots="." in encoded) == encoded else None


class Subjects:
    """The subjects of one net, as one relay uses them."""

    def __init__(self, net: str, relay_id: bytes) -> None:
        self._root = f"iris.{encode_name(net, dots=False)}"
        self._answers_root = f"{self._root}.a."
        self._tunnel_ends_root = f"{self._root}.w."
        #: Whatever comes back to this relay begins so.
        self.answers = f"{self._answers_root}{relay_id.hex()}"
        self._tunnel_ends = f"{self._tunnel_ends_root}{relay_id.hex()}"
        token = f"[0-9a-f]{{{2 * RELAY_ID_BYTES}}}"
        self._answers_form = re.compile(rf"({re.escape(self._answers_root)}{token})\.[0-9.]+\Z")
        self._tunnel_end_form = re.compile(
            rf"{re.escape(self._tunnel_ends_root)}{token}\.[0-9]{{1,20}}\Z"
        )

    def requests(self, cluster: str) -> str:
        """Where the requests to a cluster go."""
        return f"{self._root}.q.{encode_name(cluster)}"

    def broadcasts(self, cluster: str) -> str:
        """Where the broadcasts to a cluster go."""
        return f"{self._root}.c.{encode_name(cluster)}"

    def topic(self, topic: str) -> str:
        """Where the events of a topic go."""
        return f"{self._root}.t.{encode_name(topic)}"

    def direct(self, relay_id: bytes) -> str:
        """Where one relay takes requests that are meant for it."""
        return f"{self._answers_root}{relay_id.hex()}.d"

    def batch(self, first: int, count: int) -> str:
        """Where NATS answers when nobody took the requests `first` and following."""
        return f"{self.answers}.{first}.{count}"

    def tunnel_end(self, number: int) -> str:
        """Where this relay's end of a tunnel is written to."""
        return f"{self._tunnel_ends}.{number}"

    @property
    def all_answers(self) -> str:
        """What to subscribe to for all that comes back."""
        return f"{self.answers}.>"

    @property
    def all_tunnel_ends(self) -> str:
        """What to subscribe to for all tunnels."""
        return f"{self._tunnel_ends}.*"

    def batch_of_untrusted(self, subject: str) -> tuple[int, int] | None:
        """The (first, count) that `batch` was made of; None for anything else."""
        tail = subject[len(self.answers) + 1 :].split(".")
        if len(tail) == 2 and all(part.isdecimal() and len(part) <= 20 for part in tail):
            return int(tail[0]), int(tail[1])
        return None

    def tunnel_end_of_untrusted(self, subject: str) -> int | None:
        """The number of this relay's end that `subject` names."""
        tail = subject[len(self._tunnel_ends) + 1 :]
        return int(tail) if tail.isdecimal() and len(tail) <= 20 else None

    def answers_to_untrusted(self, reply: str) -> str | None:
        """Where the relay that sent requests with this reply subject takes the answers."""
        form = self._answers_form.match(reply)
        return None if form is None else form[1]

    def is_tunnel_end_untrusted(self, reply: str) -> bool:
        """Whether `reply` is some relay's end of a tunnel, in this net."""
        return self._tunnel_end_form.match(reply) is not None
