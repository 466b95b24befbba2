"""Talking to programs that know nothing of envelopes: bare JSON, or raw bytes.

Nothing of the runtime travels to them: no id, no sender, no deadline, no
signature. Their answers are values as they are, their faults `RemoteFault`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from irismq_runtime.errors import EncodeError, RemoteFault
from irismq_runtime.refs.asking import RemoteAsk
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    decode_plain_json_untrusted,
    encode_plain_json,
    new_id,
)

if TYPE_CHECKING:
    from irismq_runtime.refs.outbound import Outbound

__all__ = ["ForeignAsk", "Form", "foreign_bytes", "foreign_value_untrusted"]

#: How to write to a service that knows nothing of envelopes.
Form = Literal["json", "raw"]


class ForeignAsk(RemoteAsk[Any]):
    """An ask of a service that answers in bare JSON or bytes."""

    __slots__ = ("_form",)

    def __init__(
        self, outbound: Outbound, address: str, message: object, form: Form, timeout: float
    ) -> None:
        name = type(message).__name__
        super().__init__(outbound, address, address, new_id(), name, timeout)
        self._form = form

    def _read(self, data: bytes) -> Any:
        return foreign_value_untrusted(data, self._form)

    def _absent(self) -> None:
        """Presence knows nothing of foreign services."""

    def _send_once_heard(self) -> None:
        self._ask_another()  # they are not heard, and so not waited for

    def _turned_away(self, error: BaseException | None) -> bool:  # noqa: ARG002  # as there
        return False  # its faults are its own words

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, RemoteFault):
            return RemoteFault(error.text, cluster=self.target)
        return super()._explained(error)

    def _cancel_there(self) -> None:
        """A foreign service knows no cancellation."""


def foreign_bytes(message: object, form: Form) -> bytes:
    """Return what goes on the wire. Raises `EncodeError`; nothing is converted."""
    if form == "raw":
        if not isinstance(message, bytes | bytearray | memoryview):
            raise EncodeError("$", f"a raw service takes bytes, not {type(message).__name__}")
        data = bytes(message)
    else:
        data = encode_plain_json(message)
    if not data:
        raise EncodeError("$", "an empty message cannot be sent")
    return data


def foreign_value_untrusted(data: bytes, form: Form) -> Any:
    """Return the value of an answer. Raises `DecodeError`."""
    if form == "raw":
        return data
    return decode_plain_json_untrusted(data, DEFAULT_LIMITS)
