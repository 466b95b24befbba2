"""Erlang/OTP between two nodes; see erlang.py."""

from contestants.erlang import remote as measure

__all__ = ["measure"]
