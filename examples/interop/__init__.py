"""Foreign programs and actors talk to each other: README.md in this folder."""
