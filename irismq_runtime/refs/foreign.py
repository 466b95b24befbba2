"""Asks of programs that know nothing of envelopes (see messaging.foreign).

Their answers are values as they are, their faults `RemoteFault`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irismq_runtime.errors import RemoteFault
from irismq_runtime.messaging.foreign import foreign_value_untrusted
from irismq_runtime.refs.asking import RemoteAsk
from irismq_runtime.wire import new_id

if TYPE_CHECKING:
    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.refs.outbound import Outbound

__all__ = ["ForeignAsk"]


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
