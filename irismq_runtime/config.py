"""The arguments of a node as plain, frozen, validated values.

No opinion on where they come from: the command line reads flags and environment
variables, a program passes them, a test makes them. All checks are made at
construction, before anything is connected, and end in `ConfigError` naming the
option. Times are seconds, sizes bytes. The default ports are NSQ's and Iris's own.
An orderly end usually takes no longer than what runs; its worst case is more than
twice `drain` (see node.shutdown): set it by what the service manager grants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from actors.rules import (
    POSITIVE_SECONDS,
    SECONDS,
    Rule,
    complaints,
    count,
    optional,
    seconds,
    shown,
    text,
    value_of,
)
from irismq_runtime.endpoints import (
    DEFAULT_IRIS_PORT,
    DEFAULT_LOOKUPD_HTTP_PORT,
    DEFAULT_NATS_PORT,
    DEFAULT_NSQD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
    Endpoint,
    NatsServer,
    parse_endpoint,
    parse_endpoints,
    parse_nats_server,
    split_nats_servers,
    texts_of,
)
from irismq_runtime.errors import ConfigError
from irismq_runtime.namespace import ADDRESS, NAMESPACE

__all__ = [
    "DEFAULT_CONNECT_TIMEOUT",
    "DEFAULT_IRIS_PORT",
    "DEFAULT_LOOKUPD_HTTP_PORT",
    "DEFAULT_NATS_PORT",
    "DEFAULT_NSQD_HTTP_PORT",
    "DEFAULT_NSQD_PORT",
    "DEFAULT_TUNNEL_BYTES",
    "Endpoint",
    "NatsOverlay",
    "NodeConfig",
    "names_overlay",
    "need_address",
    "parse_endpoint",
    "parse_endpoints",
    "parse_relay",
]

#: Seconds that a node waits for its servers when it starts: they may start with it.
DEFAULT_CONNECT_TIMEOUT: Final = 10.0
#: Bytes that tunnels hold together, in a node and in a relay of its own.
DEFAULT_TUNNEL_BYTES: Final = 256 * 1024 * 1024

_NSQD_HERE: Final = Endpoint("127.0.0.1", DEFAULT_NSQD_PORT)
_IRIS_HERE: Final = Endpoint("127.0.0.1", DEFAULT_IRIS_PORT)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
_NATS_URL: Final = re.compile(r"(?:nats|tls)://")


def need_address(address: str) -> None:
    """Raise `ConfigError` for no address, and one in a namespace; every other text is one."""
    if not ADDRESS.takes(address):
        problem = "it is empty" if address == "" else ADDRESS.complaint(address)
        raise ConfigError("address", problem, 'give a name, e.g. "shop.inventory"')


def names_overlay(text: str) -> bool:
    """Whether `text`, given as the relay's address, names NATS servers instead."""
    return _NATS_URL.match(text.strip()) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsOverlay:
    """A NATS cluster over which relays route, and how it is reached.

    With one tls:// server, or with `tls_ca` or `tls_cert`, every server must speak TLS:
    one that does not is left before a login is sent. Files are read when a relay starts.

    Attributes:
        servers: URLs, "nats://[user:password@]host:port" or "tls://..."; any one of them is
            enough; a user and a password are percent-encoded.
        net: A name, 1 to 32 of letters, digits, `_` and `-`; relays of another one do not
            see these, on the same NATS.
        credentials: The path of a .creds file.
        tls_ca: The path of the certificates to trust.
        tls_cert: The path of the relay's own certificate.
        tls_key: The path of its key.

    Raises:
        ConfigError: An option has no meaning.
    """

    servers: tuple[str, ...] = field(repr=False)
    net: str = "irismq"
    credentials: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        """Check each option; the first that has no meaning raises."""
        if not self.servers:
            raise ConfigError("nats", "no server is named", "give at least one nats://HOST:PORT")
        for server in self.servers:
            parse_nats_server(server)
        if not _NAME.match(self.net):
            raise ConfigError(
                "net", f"{self.net!r} is not a name of a network", "use 1 to 32 of A-Z a-z 0-9 _ -"
            )
        if bool(self.tls_cert) != bool(self.tls_key):
            alone = "tls_cert" if self.tls_cert else "tls_key"
            raise ConfigError(alone, "a certificate and its key go together", "give both")

    @classmethod
    def parse(cls, texts: str | Iterable[str], **options: str) -> Self:
        """Read URLs, several between commas, with options behind a question mark.

        "nats://a:4222,nats://b:4222?net=shop&creds=/etc/shop.creds": the options of
        the class by name, `creds` for `credentials`. `options` that are not empty
        go before those of the text.
        """
        servers: list[str] = []
        found: dict[str, str] = {}
        for given in texts_of(texts, "nats"):
            urls, query = _cut_query(given.strip())
            servers += split_nats_servers(urls)
            found |= _nats_options(query)
        found |= {name: value for name, value in options.items() if value}
        return cls(servers=tuple(dict.fromkeys(servers)), **found)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where the servers are."""
        return tuple(server.endpoint for server in self.logins)

    @property
    def logins(self) -> tuple[NatsServer, ...]:
        """The servers, and who we are to each."""
        return tuple(map(parse_nats_server, self.servers))

    @property
    def encrypted(self) -> bool:
        """Whether TLS was asked for, in any way."""
        by_url = any(server.scheme == "tls" for server in self.logins)
        return by_url or bool(self.tls_ca or self.tls_cert)

    @property
    def peer(self) -> str:
        """The servers for a person: no name and no password in it."""
        return f"NATS at {', '.join(map(str, self.endpoints))}"


def parse_relay(iris: str | NatsOverlay) -> dict[str, Any]:
    """Return the options of a `NodeConfig` that say where its relay is.

    They are `iris` for "host:port", and `nats` for an overlay or the URLs of one.
    Raises `ConfigError`.
    """
    if isinstance(iris, NatsOverlay):
        return {"nats": iris}
    given: object = iris  # whatever a caller without a type checker gave
    if not isinstance(given, str):
        problem = f"{shown(iris)} is not an address"
        raise ConfigError("iris", problem, "write HOST:PORT, or nats://HOST:PORT")
    if names_overlay(iris):
        return {"nats": NatsOverlay.parse(iris)}
    return {"iris": parse_endpoint(iris, option="iris", default_port=DEFAULT_IRIS_PORT)}


#: The options behind a question mark, and the fields that they fill.
_NATS_OPTIONS: Final[Mapping[str, str]] = {
    "net": "net",
    "creds": "credentials",
    "tls_ca": "tls_ca",
    "tls_cert": "tls_cert",
    "tls_key": "tls_key",
}


def _cut_query(text: str) -> tuple[str, str]:
    """Return the URLs and what stands behind their question mark.

    One within a login belongs to that: of those before an @ it is none, unless an
    option follows at once (the path of a file may have an @).
    """
    for mark in re.finditer(r"\?", text):
        rest = text[mark.end() :]
        if "@" not in rest or rest.partition("=")[0] in _NATS_OPTIONS:
            return text[: mark.start()], rest
    return text, ""


def _nats_options(query: str) -> dict[str, str]:
    """Read "net=shop&creds=PATH". Raises `ConfigError` for a name that is unknown."""
    found: dict[str, str] = {}
    # A plus sign stands for itself: it may be in a path.
    for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if name not in _NATS_OPTIONS:
            raise ConfigError(
                "nats", "it has an option that is unknown", f"use {', '.join(_NATS_OPTIONS)}"
            )
        found[_NATS_OPTIONS[name]] = value
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything a node may be told: frozen, and checked when it is made.

    Attributes:
        name: A name for people, 1 to 32 of letters, digits, `_` and `-`; the id of the node
            is this and a random part, new for each start.
        namespace: Keeps all names of the node apart from those of other namespaces on the same
            servers, as of staging beside production: 1 to 16 of letters, digits, `_` and `-`.
            Empty: that of all who name none.
        nsqd: The brokers to publish to: the first that answers is used, the others stand
            by. All are consumed from.
        lookupd: HTTP endpoints of nsqlookupds; the brokers they list are consumed from too.
        iris: The relay.
        nats: The node runs a relay of its own, over these servers, instead of `iris`.
        keys: Signing keys by id, 16 to 64 bytes each; with any, unsigned envelopes are
            refused.
        sign_with: The id of the key that signs; the first of `keys` by default.
        old_signatures_until: Until when envelopes that are signed in version 1 alone are
            taken, and both versions written, for nodes that know version 1 only: a datetime
            with a zone. None: never.
        signature_window: Seconds that a signature may be old when the message comes, or is
            stored by the broker: by so much less `publish_timeout` the clocks of the hosts
            may differ.
        store: Where durable actors keep their state: a URL ("sqlite:///shop.db",
            "postgresql://...", "memory:"), or a `StateStore`. None: there are none.
        republish_after: Seconds after which what a durable actor told, and nobody has
            handled though its mailbox is empty, is published again: a broker has lost it.
        outbox_rows: Messages that may wait in the store for one address; from then on a durable
            actor that tells it gets `Overloaded`. Those that wait for a broker are counted for
            who told them.
        unknown_as_plain: Whether a message or answer of a type that this process does not
            know is read as the plain value it holds, and not refused: for tools.
        mailbox_options: Further options of the broker's client by name, as
            `mailbox.MailboxConfig` has them: tls, auth_secret, compression, copies, ...
        ask_timeout: Seconds until the deadline of an ask that names none.
        publish_timeout: Seconds that a durable tell waits for the broker's confirmation.
        connect_timeout: Seconds that the node waits for its servers when it starts.
        lease: Seconds that a broker waits for a sign of life from who holds a message
            before it gives it to somebody else; renewed by itself while the node lives.
        mailbox_window: Stored messages that one actor holds at once, waiting and running.
        dedupe_window: Envelope ids that each mailbox remembers to drop what comes twice; 0:
            none.
        max_attempts: Deliveries after which a failing message goes to `<address>.dead`.
        slow_after: Seconds after which a handler that still runs is reported with its
            stack; with messages waiting for its actor the node is not ready any more.
        traces_per_second: Traces a second that the node begins itself (extra `otel`), for messages
            that are sent outside of any span; a span in force decides for its own. 0: none.
        tunnel_bytes: Bytes that all tunnels and streams of the node hold for readers that
            do not read; no more of them open when they are in use. At least 1 MiB.
        unverified_bytes: Bytes that are held for strangers: of tunnels of which no message
            has been read and accepted yet. At least 1 MiB.
        drain: Seconds that running handlers get when the node stops.
        presence_period: Seconds between two announcements of this node.
        presence_misses: Announcements in a row that may be missed before a node is gone.

    Raises:
        ConfigError: An option has no meaning.
    """

    name: str = "node"
    namespace: str = ""
    nsqd: tuple[Endpoint, ...] = (_NSQD_HERE,)
    lookupd: tuple[Endpoint, ...] = ()
    iris: Endpoint = _IRIS_HERE
    nats: NatsOverlay | None = None
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    sign_with: str | None = None
    old_signatures_until: datetime | None = None
    signature_window: float = 300.0
    store: Any = field(default=None, repr=False)
    republish_after: float = 60.0
    outbox_rows: int = 100_000
    unknown_as_plain: bool = False
    mailbox_options: Mapping[str, object] = field(default_factory=dict, repr=False)
    ask_timeout: float = 5.0
    publish_timeout: float = 30.0
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT
    lease: float = 15.0
    mailbox_window: int = 256
    dedupe_window: int = 10_000
    max_attempts: int = 5
    slow_after: float = 30.0
    traces_per_second: int = 100
    tunnel_bytes: int = DEFAULT_TUNNEL_BYTES
    unverified_bytes: int = 16 * 1024 * 1024
    drain: float = 10.0
    presence_period: float = 1.0
    presence_misses: int = 3

    def __post_init__(self) -> None:
        """Check each option; the first that has no meaning raises."""
        for option, complaint in complaints(_RULES, self):
            raise ConfigError(option, complaint)
        if not self.nsqd and not self.lookupd:
            raise ConfigError("nsqd", "no broker is named", "give at least one HOST:PORT")
        for key_id, secret in self.keys.items():
            _check_key(key_id, secret)
        if self.sign_with is not None and self.sign_with not in self.keys:
            raise ConfigError(
                "sign_with", f"no key is named {self.sign_with!r}", "name one of keys"
            )
        if self.namespace and self.old_signatures_until is not None:
            raise ConfigError(
                "old_signatures_until",
                "signatures of version 1 say no place, and would be good in every namespace",
                "leave it out: no node in a namespace is so old",
            )
        if self.keys and self.signature_window <= self.publish_timeout:
            raise ConfigError(
                "signature_window",
                f"{self.signature_window:g} s are not more than publish_timeout",
                "a tell may wait so long for its broker; give twice as much",
            )


def _check_key(key_id: object, secret: object) -> None:
    """Raise `ConfigError` for what does not sign, without saying what it is."""
    if not isinstance(key_id, str) or not key_id:
        raise ConfigError("keys", f"{shown(key_id)} is not the id of a key", "give a text")
    if not isinstance(secret, bytes):
        problem = f"key {key_id!r} is a {type(secret).__name__}"
        raise ConfigError("keys", problem, "give 16 to 64 secret bytes")
    if not 16 <= len(secret) <= 64:
        raise ConfigError(
            "keys", f"key {key_id!r} has {len(secret)} bytes", "give 16 to 64 secret bytes"
        )


def _are_endpoints(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, Endpoint) for each in value)


_ENDPOINTS: Final = Rule("a tuple of Endpoint", _are_endpoints)
_MAPPING: Final = value_of(Mapping, "a mapping")
_NODE_NAME: Final = Rule(
    "a node name: 1 to 32 of A-Z a-z 0-9 _ -",
    lambda value: isinstance(value, str) and _NAME.match(value) is not None,
)

_STORE: Final = Rule(
    "a URL such as sqlite:///shop.db, or a StateStore",
    lambda value: (
        (isinstance(value, str) and value != "") or callable(getattr(value, "commit", None))
    ),
    secret=True,
)
_INSTANT: Final = Rule(
    "a datetime with a zone, as datetime(2026, 12, 24, tzinfo=UTC)",
    lambda value: isinstance(value, datetime) and value.utcoffset() is not None,
)

#: What each option of a `NodeConfig` may be; a test has it that none is missing.
_RULES: Final[Mapping[str, Rule]] = {
    "name": _NODE_NAME,
    "namespace": NAMESPACE,
    "nsqd": _ENDPOINTS,
    "lookupd": _ENDPOINTS,
    "iris": value_of(Endpoint, "an Endpoint"),
    "nats": optional(value_of(NatsOverlay, "a NatsOverlay")),
    "keys": Rule("a mapping of texts to bytes", _MAPPING.takes, secret=True),
    "sign_with": optional(text(1))._replace(secret=True),
    "old_signatures_until": optional(_INSTANT),
    "signature_window": POSITIVE_SECONDS,
    "store": optional(_STORE),
    "republish_after": POSITIVE_SECONDS,
    "outbox_rows": count(10, 1_000_000_000),
    "unknown_as_plain": value_of(bool, "True or False"),
    "mailbox_options": _MAPPING._replace(secret=True),
    "ask_timeout": POSITIVE_SECONDS,
    "publish_timeout": POSITIVE_SECONDS,
    "connect_timeout": POSITIVE_SECONDS,
    "lease": seconds(1.0),  # nsqd's least
    "mailbox_window": count(1, 2500),  # nsqd's most (max-rdy-count)
    "dedupe_window": count(0, 10_000_000),
    "max_attempts": count(1, 65_535),  # as nsqd counts them
    "slow_after": POSITIVE_SECONDS,
    "traces_per_second": count(0, 1_000_000),
    "tunnel_bytes": count(1 << 20, 1 << 40),
    "unverified_bytes": count(1 << 20, 1 << 40),
    "drain": SECONDS,
    "presence_period": seconds(0, 60, above=True),  # as cadence.LONGEST_PERIOD
    "presence_misses": count(1, 1000),
}
