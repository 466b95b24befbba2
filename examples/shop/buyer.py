"""The buyer, as an actor: it hears what runs low. And its tree."""

from __future__ import annotations

import logging

from actors import Actor, receives
from supervisors import Supervisor, child

from .messages import LowStock

_LOG = logging.getLogger("shop.buyer")


class Buyer(Actor[LowStock]):
    """Writes down what is to be bought."""

    address = "shop.buyer"

    @receives(LowStock)
    def low(self, news: LowStock) -> None:
        """One more thing to buy."""
        _LOG.info("buy %s: only %d left", news.sku, news.left)


class Office(Supervisor):
    """The buyer."""

    children = (child(Buyer),)
