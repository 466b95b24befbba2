"""`python -m irismq_runtime.cli`: the command line without its script."""

from __future__ import annotations

from irismq_runtime.cli.main import main

if __name__ == "__main__":
    main()
