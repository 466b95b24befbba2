"""Consuming: which nsqds, how many messages (RDY), leases, the end of each message."""
