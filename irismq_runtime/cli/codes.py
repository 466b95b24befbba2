"""The exit codes of the command line, in one table.

| code | when |
| ---: | --- |
| 0    | done; also after SIGTERM or SIGINT, once the node has drained |
| 1    | the thing asked for failed: an ask was refused or timed out, a check failed |
| 2    | wrong usage, or an option or tree that has no meaning |
| 3    | a server or the store does not answer, or something else answers at its port |
| 4    | the tree gave up: the root supervisor ended by itself |
| 5    | an error of the runtime itself (please report it) |
| 130  | told twice to stop: ended at once, without draining |

Two of them are those of `Node.run`, which is not imported here: commands that need
no node start sooner. A test compares them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BUG", "FAILED", "FORCED", "GAVE_UP", "OK", "UNREACHABLE", "USAGE"]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
GAVE_UP: Final = 4  # node.EXIT_GAVE_UP
BUG: Final = 5
FORCED: Final = 130  # node.EXIT_FORCED
