"""The command line of the runtime: see `main`, and `codes` for exit codes."""
