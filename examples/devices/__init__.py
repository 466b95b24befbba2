"""Twins of devices: an entity for each, with alarms by reminder and a report every night."""
