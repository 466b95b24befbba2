"""The brokers that a command speaks to: one set of options for all commands.

What a `Node` can be told of its brokers, every command can: TLS with its CA and a
certificate of one's own, the AUTH secret, nsqlookupd, where HTTP is, and the namespace
whose topics are meant. `@takes_brokers`
puts the options in the place of a command's parameter `brokers: Brokers`. They become
the same checked `MailboxConfig` as those of a node, before anything is connected.

`look` asks nsqd over HTTP what there is, which makes nothing, unlike a subscription.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.console import remark
from irismq_runtime.cli.options import (
    NSQD_DEFAULT,
    Lookupd,
    NamespaceName,
    Nsqd,
    NsqdHttp,
    http_of,
)
from irismq_runtime.config import DEFAULT_NSQD_PORT, parse_endpoints
from irismq_runtime.environment import tls_context
from irismq_runtime.errors import ConfigError
from irismq_runtime.namespace import Namespace

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from irismq_runtime.cli.probes import Target
    from irismq_runtime.config import Endpoint
    from irismq_runtime.mailbox import MailboxConfig

__all__ = ["Brokers", "takes_brokers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """What was given; the texts have not been looked at yet. Paths are of PEM files."""

    nsqd: list[str] = field(default_factory=lambda: list(NSQD_DEFAULT))
    nsqd_http: list[str] = field(default_factory=list)
    lookupd: list[str] = field(default_factory=list)
    nsqd_tls: bool = False
    nsqd_tls_ca: str = ""
    nsqd_tls_cert: str = ""
    nsqd_tls_key: str = ""
    nsqd_tls_hostname: str = ""
    nsqd_auth_secret: str = field(default="", repr=False)
    namespace: str = ""

    @property
    def names(self) -> Namespace:
        """What topics are called there. Raises `ConfigError`."""
        return Namespace(self.namespace)

    @property
    def within(self) -> str:
        """Where its names are, for the end of a sentence; empty without a namespace."""
        return f" in the namespace {self.namespace!r}" if self.namespace else ""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where they answer NSQ's protocol. Raises `ConfigError`."""
        return parse_endpoints(self.nsqd, option="nsqd", default_port=DEFAULT_NSQD_PORT)

    @property
    def pairs(self) -> tuple[tuple[Endpoint, Endpoint], ...]:
        """Where each answers NSQ's protocol, and where HTTP. Raises `ConfigError`."""
        brokers, beside = self.endpoints, http_of(self.nsqd, self.nsqd_http)
        if len(beside) != len(brokers):
            said = f"{len(beside)} for {len(brokers)} brokers"
            raise ConfigError("--nsqd-http", said, "name all, in the order of --nsqd")
        return tuple(zip(brokers, beside, strict=True))

    @property
    def http(self) -> list[str]:
        """Where they answer HTTP. Raises `ConfigError`."""
        return [str(endpoint) for endpoint in http_of(self.nsqd, self.nsqd_http)]

    @property
    def mailbox_options(self) -> dict[str, Any]:
        """The same as `NodeConfig.mailbox_options`. Raises `ConfigError`."""
        options: dict[str, Any] = {}
        if (context := self.tls_context()) is not None:
            options["tls"] = context
        if self.nsqd_tls_hostname:
            options["tls_hostname"] = self.nsqd_tls_hostname
        if self.nsqd_auth_secret:
            options["auth_secret"] = self.nsqd_auth_secret
        return options

    def targets(self, iris: str) -> list[Target]:
        """The servers to look at, the relay or NATS of `iris` among them. Raises `ConfigError`."""
        from irismq_runtime.cli.probes import targets

        return targets(nsqd=self.nsqd, nsqd_http=self.nsqd_http, lookupd=self.lookupd, iris=iris)

    def config(self, **more: Any) -> MailboxConfig:
        """The configuration of a mailbox of a command. Raises `ConfigError`."""
        from irismq_runtime.mailbox import MailboxConfig

        return MailboxConfig(client_id="cli", **{**self.mailbox_options, **more})

    def tls_context(self) -> ssl.SSLContext | None:
        """Return how TLS is spoken, None for no TLS. Raises `ConfigError`."""
        return tls_context(
            wanted=self.nsqd_tls or bool(self.nsqd_tls_hostname),
            ca=self.nsqd_tls_ca,
            cert=self.nsqd_tls_cert,
            key=self.nsqd_tls_key,
            named=lambda part: f"--nsqd-tls-{part}",
        )


Tls = Annotated[
    bool,
    typer.Option(
        "--nsqd-tls", envvar="IRISMQ_NSQD_TLS", help="TLS with the brokers, by the system's CAs."
    ),
]
TlsCa = Annotated[
    str,
    typer.Option(
        "--nsqd-tls-ca",
        envvar="IRISMQ_NSQD_TLS_CA",
        metavar="FILE",
        help="Speak TLS with the brokers, and trust these certificates.",
    ),
]
TlsCert = Annotated[
    str,
    typer.Option(
        "--nsqd-tls-cert",
        envvar="IRISMQ_NSQD_TLS_CERT",
        metavar="FILE",
        help="A certificate of one's own, for brokers that want one.",
    ),
]
TlsKey = Annotated[
    str,
    typer.Option(
        "--nsqd-tls-key", envvar="IRISMQ_NSQD_TLS_KEY", metavar="FILE", help="The key of it."
    ),
]
TlsHostname = Annotated[
    str,
    typer.Option(
        "--nsqd-tls-hostname",
        envvar="IRISMQ_NSQD_TLS_HOSTNAME",
        metavar="NAME",
        help="The name in the brokers' certificates, if it is not that of the host.",
    ),
]
AuthSecret = Annotated[
    str,
    typer.Option(
        "--nsqd-auth-secret",
        envvar="IRISMQ_NSQD_AUTH_SECRET",
        metavar="SECRET",
        help="For brokers that require AUTH; as a variable nobody sees it.",
        show_default=False,
    ),
]

#: Field of `Brokers` -> its option.
_OPTIONS: Final[dict[str, Any]] = {
    "nsqd": Nsqd,
    "nsqd_http": NsqdHttp,
    "lookupd": Lookupd,
    "nsqd_tls": Tls,
    "nsqd_tls_ca": TlsCa,
    "nsqd_tls_cert": TlsCert,
    "nsqd_tls_key": TlsKey,
    "nsqd_tls_hostname": TlsHostname,
    "nsqd_auth_secret": AuthSecret,
    "namespace": NamespaceName,
}


def takes_brokers(command: Callable[..., None]) -> Callable[..., None]:
    """Put the options of `Brokers` in the place of the parameter `brokers` of a command.

    The default of that parameter, a `Brokers`, has the defaults of the options.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name != "brokers":
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=getattr(parameter.default, name),
                annotation=option,
            )
            for name, option in _OPTIONS.items()
        ]
    signature = inspect.Signature(parameters)

    @functools.wraps(command)
    def called(*arguments: Any, **options: Any) -> None:
        bound = signature.bind(*arguments, **options)
        bound.apply_defaults()
        given = bound.arguments
        made = Brokers(**{name: given.pop(name) for name in _OPTIONS})
        try:
            command(**given, brokers=made)
        except typer.Exit as end:
            # What is missing may be in another namespace than that of a forgotten variable.
            if end.exit_code == codes.FAILED and made.within:
                remark(f"this was{made.within}")
            raise

    called.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called
