"""A delivery that came over the wire: its context is made when somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Delivery

if TYPE_CHECKING:
    from actors import Context

__all__ = ["Carried"]


class Carried(Delivery):
    """Most handlers never look at their context. `_context` is None until one does."""

    __slots__ = ("_context",)

    _context: Context | None

    def context(self) -> Context:
        """What the handler sees as `self.context`."""
        context = self._context
        if context is None:
            context = self._context = self._made()
        return context

    def _made(self) -> Context:
        raise NotImplementedError
