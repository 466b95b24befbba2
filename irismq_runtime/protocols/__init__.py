"""Wire protocols without I/O: bytes in, records out.

Nothing below this package opens a socket, reads a clock, writes a log or knows
an event loop. A decoder is fed what the network brought and returns records; an
encoder takes values and returns bytes. `buffer` is shared by the protocols;
`nsq` and `iris` know nothing of each other.
"""
