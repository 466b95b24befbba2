"""Makes the NATS back end of a relay from what the configuration says of it.

Reads the files that it names (blocking: called in a thread) and imports the back
end, and with it nats-py, only here and only then. What cannot be read, and an
extra that is not installed, is a `ConfigError` that names the option.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from irismq_runtime.config import NatsOverlay
    from irismq_runtime.embedded.relay.nats import NatsBackEnd

__all__ = ["nats_back_end"]


def nats_back_end(
    overlay: NatsOverlay, connect_timeout: float, *, stop_seconds: float = 1.0
) -> NatsBackEnd:
    """Return the back end, not connected yet. Blocks; touches no loop."""
    credentials, tls = _credentials(overlay.credentials), _tls(overlay)
    from irismq_runtime.embedded.relay.nats import NatsBackEnd, NatsOptions

    return NatsBackEnd(
        overlay.servers,
        net=overlay.net,
        credentials=credentials,
        tls=tls,
        options=NatsOptions(connect_timeout=connect_timeout, stop_seconds=stop_seconds),
    )


def _credentials(path: str) -> Path | None:
    """Return the path once the file was read, so that the error comes early."""
    if not path:
        return None
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise _unreadable("creds", path, error) from error
    return Path(path)


def _tls(overlay: NatsOverlay) -> ssl.SSLContext | None:
    """Return how certificates are checked and shown; None where no TLS is asked for."""
    if not overlay.encrypted:
        return None
    try:
        context = ssl.create_default_context(cafile=overlay.tls_ca or None)
    except (OSError, ssl.SSLError) as error:
        raise _unreadable("tls_ca", overlay.tls_ca, error) from error
    if overlay.tls_cert:
        try:
            context.load_cert_chain(overlay.tls_cert, overlay.tls_key)
        except (OSError, ssl.SSLError) as error:
            where = f"{overlay.tls_cert} with {overlay.tls_key}"
            raise _unreadable("tls_cert", where, error) from error
    return context


def _unreadable(option: str, path: str, error: OSError) -> ConfigError:
    return ConfigError(option, f"{path} cannot be used ({error.strerror or error})")
