"""Erlang/OTP in one node; see erlang.py."""

from contestants.erlang import local as measure

__all__ = ["measure"]
