"""`RetryPolicy`: how often a stored message whose handler fails is tried, and when again.

A class of actors that has none is tried as its node says (`max_attempts`), with the growing
delay of the transport. Pure: the attempts are the broker's count, chance is an argument. It
knows no broker and no actor; `settled` gives what `settlement` would, changed by the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from actors.class_options import are_errors, known_option
from actors.delays import exponential_delay
from actors.rules import POSITIVE_SECONDS, Rule, complaints, count, number, optional, value_of
from irismq_runtime.dispatch.settlement import Settlement, buried_as, settlement
from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from actors import Outcome

__all__ = ["RetryPolicy", "settled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a stored message is tried again; `retry_policy = RetryPolicy(...)` in a class of actors.

        class Mailer(Actor):
            address = "shop.mailer"
            retry_policy = RetryPolicy(
                attempts=10, first=5.0, longest=600.0, never=(BadAddress,),
                by_error={Throttled: RetryPolicy(attempts=50, first=60.0)},
            )

    The delay after failure n is `min(longest, first * 2**(n-1))`, of which the share `jitter`
    is left to chance. What a handler says itself by `Retry(after=...)` goes first.

    Args:
        attempts: Deliveries after which the message goes to `<address>.dead`, 1 to 65,535;
            None: the node's `max_attempts`.
        first: Seconds after the first failure.
        longest: Seconds at most. The broker's own longest (nsqd: an hour) is not exceeded.
        jitter: The share of each delay that is random, 0 to 1.
        never: Exceptions after which there is no other attempt: a crash, and the message goes
            to `<address>.dead` at once. (What is named in `refuses` goes there without one.)
        by_error: Another policy for some exceptions, by their class; the nearest base counts.

    Raises:
        ConfigError: A value has no meaning, or `first` is above `longest`.
    """

    attempts: int | None = None
    first: float = 1.0
    longest: float = 900.0
    jitter: float = 0.5
    never: tuple[type[BaseException], ...] = ()
    by_error: Mapping[type[BaseException], RetryPolicy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, complaint in complaints(_RULES, self):
            raise ConfigError(f"RetryPolicy.{name}", complaint)
        if self.first > self.longest:
            raise ConfigError("RetryPolicy.first", f"{self.first!r} is above longest")

    def of(self, error: BaseException | None) -> RetryPolicy:
        """The policy for what a handler raised: the one of its nearest class, or this one."""
        if error is not None:
            for kind in type(error).__mro__:
                if kind in self.by_error:
                    return self.by_error[kind]
        return self

    def most(self, otherwise: int) -> int:
        """The attempts that a message may have under any error; `otherwise`: the node's."""
        policies = (self, *self.by_error.values())
        return max(each.attempts or otherwise for each in policies)

    def delay(self, attempts: int, chance: float) -> float:
        """Seconds until the next attempt, after so many that failed; `chance` from 0 to 1."""
        spread = (1.0 - self.jitter, 1.0)
        return exponential_delay(attempts - 1, self.first, self.longest, chance, spread=spread)


def _are_policies(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(error, type)
        and issubclass(error, BaseException)
        and isinstance(policy, RetryPolicy)
        and not policy.by_error
        for error, policy in value.items()
    )


_RULES: Final[Mapping[str, Rule]] = {
    "attempts": optional(count(1, 65_535)),  # as nsqd counts them
    "first": POSITIVE_SECONDS,
    "longest": POSITIVE_SECONDS,
    "jitter": number(0.0, 1.0, ""),
    "never": Rule("a tuple of exception classes", are_errors),
    "by_error": Rule(
        "a mapping of exception classes to RetryPolicy values without one of their own",
        _are_policies,
    ),
}

known_option("retry_policy", optional(value_of(RetryPolicy, "a RetryPolicy")), checked=True)
known_option("mailbox_expires", optional(POSITIVE_SECONDS), checked=True)


def settled(
    policy: RetryPolicy | None,
    outcome: Outcome,
    *,
    attempts: int,
    allowed: int,
    otherwise: int,
    chance: float,
) -> Settlement:
    """Decide after the handler, as `settlement`, by the policy of its class.

    `allowed`: the most that a message may have under this policy, with its hops.
    `otherwise`: the attempts of a policy that names none.
    """
    if policy is None or outcome.kind not in {"crashed", "retry"}:
        return settlement(outcome, attempts=attempts, allowed=allowed)
    mine = policy.of(outcome.error)
    hops = allowed - policy.most(otherwise)
    allowed -= policy.most(otherwise) - (mine.attempts or otherwise)
    # The class itself, as `except` sees it: the `__class__` of a user's exception may be anything.
    if outcome.kind == "crashed" and issubclass(type(outcome.error), (*policy.never, *mine.never)):
        return buried_as("crashed, and is not tried again", outcome.error)
    verdict = settlement(outcome, attempts=attempts, allowed=allowed)
    if verdict.action == "requeue" and verdict.delay is None:
        return replace(verdict, delay=mine.delay(max(1, attempts - hops), chance))
    return verdict
