"""The message that has an actor call one of its methods: Pykka's `ProxyCall`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykka.messages import ProxyCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["method_call"]


def method_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ProxyCall:
    """The message that calls the method `name`; whether it may is the sender's to check."""
    return ProxyCall(attr_path=(name,), args=tuple(args), kwargs=dict(kwargs))
