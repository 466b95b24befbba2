"""The embedded nsqd behind nsqd's own command line, for suites that start `nsqd` from PATH.

`nsqd_on_path(folder, port, http_port)` puts a program named nsqd into `folder`.
It takes the flags that pynsq's suite passes and runs until it is killed; a flag
that it does not know ends it, as nsqd does.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def nsqd_on_path(folder: Path, port: int, http_port: int) -> None:
    """Make `folder`/nsqd, which listens on these ports."""
    program = folder / "nsqd"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {port} {http_port} "$@"\n')
    program.chmod(0o755)


def _flags(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prefix_chars="-", allow_abbrev=False)
    parser.add_argument("port", type=int)
    parser.add_argument("http_port", type=int)
    for name in ("verbose", "snappy", "deflate"):
        parser.add_argument(f"-{name}", f"--{name}", action="store_true")
    for name in ("tls-key", "tls-cert", "auth-http-address", "lookupd-tcp-address"):
        parser.add_argument(f"-{name}", f"--{name}", default="")
    return parser.parse_args(arguments)


async def _main(flags: argparse.Namespace) -> None:
    from irismq_runtime.embedded.nsqd import EmbeddedNsqd, NsqdOptions

    tls = None
    if flags.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The suite's certificate is old: its key is shorter than OpenSSL likes today.
        tls.set_ciphers("DEFAULT:@SECLEVEL=0")
        tls.load_cert_chain(flags.tls_cert, flags.tls_key)
    authorities = (flags.auth_http_address,) if flags.auth_http_address else ()
    options = NsqdOptions(tls=tls, deflate=True, auth_http_addresses=authorities)
    await EmbeddedNsqd(port=flags.port, http_port=flags.http_port, options=options).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(_flags(sys.argv[1:])))
