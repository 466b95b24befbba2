"""The process around a node: signals, systemd, why it stops, and its exit code."""
