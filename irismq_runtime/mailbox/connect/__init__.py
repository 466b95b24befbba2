"""Connections to nsqd: TCP, handshake, upgrades, dialling again."""
