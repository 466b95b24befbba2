"""The loop of a test ends, whatever was left open on it, and says what that was."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.loops import uvloop_class


def test_a_loop_with_an_open_connection_ends_and_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        loop = uvloop_class()()
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, *listening.getsockname()))
        with pytest.raises(ResourceWarning, match=r"unclosed.*TCPTransport"):
            loop.close()
    assert loop.is_closed()
