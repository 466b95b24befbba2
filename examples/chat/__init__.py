"""A chat: people who come and go, and an archive that misses nothing."""
