"""What a node says of its health: liveness and readiness apart, with reasons.

*Live* means that restarting the process would not help: it is false only when
the node itself is broken (its tree gave up, its loop is stuck). *Ready* means
that work given to it now is done now. A broker that is away makes a node
unready, never dead: it reconnects by itself. What is wrong and keeps no work from
being done (an *advisory* check) is among the reasons of a ready node. Plain values,
JSON-able.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from irismq_runtime.safe_text import safe

__all__ = ["Check", "Health"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, such as "nsqd" or "loop". A value, for any thread.

    Args:
        name: What was looked at.
        ok: Whether it is well.
        reason: Why it is not, for people; "" when `ok`.
        vital: Whether a failure means that the process itself is of no use.
        advisory: Whether a failure leaves the node ready: it is shown, and nothing else.
    """

    name: str
    ok: bool
    reason: str = ""
    vital: bool = False
    advisory: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """All checks of a node at one moment. A value, for any thread.

    Args:
        checks: What was looked at, in the order in which reasons are given.
    """

    checks: tuple[Check, ...] = field(default=())

    @property
    def live(self) -> bool:
        """True unless a vital check failed."""
        return all(check.ok for check in self.checks if check.vital)

    @property
    def ready(self) -> bool:
        """True when every check is good that is not advisory."""
        return all(check.ok or check.advisory for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line for each check that failed: "name: reason"."""
        return tuple(safe(f"{each.name}: {each.reason}") for each in self.checks if not each.ok)

    def to_dict(self) -> dict[str, object]:
        """Return the health as a value for JSON.

        Returns:
            `live`, `ready`, `reasons`, and `checks` with the fields of each `Check`.
        """
        return {
            "live": self.live,
            "ready": self.ready,
            "reasons": list(self.reasons),
            "checks": [
                {
                    "name": c.name,
                    "ok": c.ok,
                    "reason": safe(c.reason),
                    "vital": c.vital,
                    "advisory": c.advisory,
                }
                for c in self.checks
            ],
        }
