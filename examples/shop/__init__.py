"""A shop: orders that survive crashes, and the stock they are taken from."""
