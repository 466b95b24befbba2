"""The buyer, as an actor: it hears what runs low."""

from __future__ import annotations

import logging

from actors import Actor, receives

from .messages import LowStock

__all__ = ["Buyer"]

_LOG = logging.getLogger("shop.buyer")


class Buyer(Actor):
    """Writes down what is to be bought."""

    address = "shop.buyer"

    @receives(LowStock)
    def low(self, news: LowStock) -> None:
        """One more thing to buy."""
        _LOG.info("buy %s: only %d left", news.sku, news.left)
