"""The servers that a node runs in its own process: a broker, a relay, or neither."""
