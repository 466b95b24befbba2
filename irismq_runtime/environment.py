"""What the environment says of a node: the variables of the commands, read for programs too.

`Node.from_env()` and `irismq run` are told the same by the same variables, so that a
container is set up once. Pure but for the files of certificates: what the environment is, is
an argument. Nothing is connected, and no secret is in an error.

    IRISMQ_NSQD_ADDRESS, IRISMQ_LOOKUPD_ADDRESS    HOST:PORT, several with spaces between
    IRISMQ_IRIS_ADDRESS, IRISMQ_NODE_NAME, IRISMQ_NAMESPACE, IRISMQ_STORE
    IRISMQ_NSQD_TLS, IRISMQ_NSQD_TLS_CA, _CERT, _KEY, _HOSTNAME, IRISMQ_NSQD_AUTH_SECRET
    IRISMQ_KEYS, IRISMQ_SIGNATURE_WINDOW, IRISMQ_OLD_SIGNATURES_UNTIL
"""

from __future__ import annotations

import ssl
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["keys_of", "node_options", "signing_of", "tls_context"]

#: Variable -> the argument of a node that it is as it stands.
_TEXTS: Final = {
    "IRISMQ_IRIS_ADDRESS": "iris",
    "IRISMQ_NODE_NAME": "name",
    "IRISMQ_NAMESPACE": "namespace",
    "IRISMQ_STORE": "store",
}
_LISTS: Final = {"IRISMQ_NSQD_ADDRESS": "nsqd", "IRISMQ_LOOKUPD_ADDRESS": "lookupd"}
_YES: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_NO: Final = frozenset({"", "0", "false", "f", "no", "n", "off"})


def node_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a `Node` that the environment gives; what it leaves out is absent.

    Raises:
        ConfigError: A variable has no meaning; it is named.
    """
    options: dict[str, Any] = {
        name: environ[variable] for variable, name in _TEXTS.items() if environ.get(variable)
    }
    for variable, name in _LISTS.items():
        if places := environ.get(variable, "").split():
            options[name] = places
    if keys := keys_of(environ):
        options["keys"] = keys
    options |= signing_of(environ)
    if mailbox := _mailbox_options(environ):
        options["mailbox_options"] = mailbox
    return options


def _mailbox_options(environ: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    hostname = environ.get("IRISMQ_NSQD_TLS_HOSTNAME", "")
    context = tls_context(
        wanted=_flag(environ, "IRISMQ_NSQD_TLS") or bool(hostname),
        ca=environ.get("IRISMQ_NSQD_TLS_CA", ""),
        cert=environ.get("IRISMQ_NSQD_TLS_CERT", ""),
        key=environ.get("IRISMQ_NSQD_TLS_KEY", ""),
        named=lambda part: f"IRISMQ_NSQD_TLS_{part.upper()}",
    )
    if context is not None:
        options["tls"] = context
    if hostname:
        options["tls_hostname"] = hostname
    if secret := environ.get("IRISMQ_NSQD_AUTH_SECRET"):
        options["auth_secret"] = secret
    return options


def _flag(environ: Mapping[str, str], variable: str) -> bool:
    text = environ.get(variable, "").strip().lower()
    if text not in _YES | _NO:
        raise ConfigError(variable, f"{text!r} is neither yes nor no", "write 1 or 0")
    return text in _YES


def tls_context(
    *, wanted: bool, ca: str, cert: str, key: str, named: Callable[[str], str]
) -> ssl.SSLContext | None:
    """Return how TLS is spoken with brokers; None: it is not, as nothing of it is given.

    Args:
        wanted: TLS, by the CAs of the system unless `ca` says otherwise.
        ca: The file of a CA (PEM).
        cert: A certificate of one's own, and
        key: its key.
        named: How an option is called where it was given, by "ca", "cert" or "key".

    Raises:
        ConfigError: A file cannot be used, or a certificate has no key, or a key none.
    """
    if not (wanted or ca or cert or key):
        return None
    if bool(cert) != bool(key):
        alone = named("cert" if cert else "key")
        raise ConfigError(alone, "a certificate and its key go together", "give both")
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ValueError) as error:
        raise _unreadable(named("ca"), ca, error) from error
    if cert:
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ValueError) as error:
            raise _unreadable(named("cert"), cert, error) from error
    return context


def _unreadable(option: str, path: str, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigError(option, f"{path!r} cannot be used: {reason}", "give a PEM file")


def signing_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read `IRISMQ_OLD_SIGNATURES_UNTIL` (ISO 8601) and `IRISMQ_SIGNATURE_WINDOW` (seconds)."""
    options: dict[str, Any] = {}
    until = environ.get("IRISMQ_OLD_SIGNATURES_UNTIL", "")
    if until:
        try:
            options["old_signatures_until"] = moment = datetime.fromisoformat(until)
        except ValueError:
            moment = None
        if moment is None or moment.utcoffset() is None:
            problem = f"{until!r} is not a time with a zone, as 2026-12-24T00:00:00+00:00"
            raise ConfigError("IRISMQ_OLD_SIGNATURES_UNTIL", problem)
    window = environ.get("IRISMQ_SIGNATURE_WINDOW", "")
    if window:
        try:
            options["signature_window"] = float(window)
        except ValueError:
            problem = f"{window!r} is not a number of seconds"
            raise ConfigError("IRISMQ_SIGNATURE_WINDOW", problem) from None
    return options


def keys_of(environ: Mapping[str, str]) -> dict[str, bytes]:
    """Read `IRISMQ_KEYS`: "id=hex,id=hex"; the first signs."""
    keys: dict[str, bytes] = {}
    for part in filter(None, environ.get("IRISMQ_KEYS", "").split(",")):
        key_id, equals, secret = part.partition("=")
        try:
            keys[key_id.strip()] = bytes.fromhex(secret)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError("IRISMQ_KEYS", "a part of it is not id=hex", "write id=hex,id=hex")
    return keys
