"""How a supervisor restarts, checked before anything starts.

Refusals carry OTP's tags for supervisor flags: `invalid_strategy`,
`invalid_intensity`, `invalid_period`, `invalid_auto_shutdown`, and by name the
combinations that would restart for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from actors.rules import POSITIVE_SECONDS, count, one_of
from supervisors._intensity import Intensity
from supervisors._state import Policy
from supervisors.backoff import checked_backoff
from supervisors.errors import SpecError
from supervisors.spec import AUTO_SHUTDOWNS
from supervisors.strategies import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisors.backoff import Backoff
    from supervisors.spec import AutoShutdown
    from supervisors.strategies import Strategy

__all__ = ["DynamicOptions", "Options", "checked_policy", "take_options"]


#: Restarts or children; more are not counted.
_MANY: Final = count(0, 2**31)


class Options(TypedDict, total=False):
    """What a supervisor may be told beside its children; see `Supervisor`."""

    strategy: Strategy
    max_restarts: int | None
    max_seconds: float
    backoff: Backoff | tuple[float, ...] | None
    auto_shutdown: AutoShutdown


class DynamicOptions(TypedDict, total=False):
    """What a dynamic supervisor may be told; see `DynamicSupervisor`."""

    max_children: int | None
    max_restarts: int | None
    max_seconds: float
    backoff: Backoff | tuple[float, ...] | None


def take_options(owner: Any, options: Mapping[str, Any], allowed: frozenset[str]) -> None:
    """Set the options as attributes of `owner`. Raises TypeError for an unknown one."""
    for name, value in options.items():
        if name not in allowed:
            known = ", ".join(sorted(allowed))
            raise TypeError(f"{type(owner).__name__} has no option {name!r}; it knows {known}")
        setattr(owner, name, value)


def checked_policy(owner: Any, *, dynamic: bool = False, max_children: int | None = None) -> Policy:
    """The policy that the attributes of `owner` (a supervisor or its class) mean.

    Raises:
        SpecError: with OTP's tag, naming the attribute's value.
    """
    if not one_of(*STRATEGIES).takes(owner.strategy):
        hint = "one of one_for_one, one_for_all, rest_for_one"
        raise SpecError("invalid_strategy", owner.strategy, hint)
    if not one_of(*AUTO_SHUTDOWNS).takes(owner.auto_shutdown):
        hint = "one of never, any_significant, all_significant"
        raise SpecError("invalid_auto_shutdown", owner.auto_shutdown, hint)
    if owner.rng is not None and not callable(getattr(owner.rng, "random", None)):
        raise SpecError("invalid_rng", owner.rng, "rng is a random.Random, or has its random()")
    backoff = checked_backoff(owner.backoff)
    return Policy(
        strategy=owner.strategy,
        intensity=_checked_intensity(owner.max_restarts, owner.max_seconds, backoff),
        backoff=backoff,
        auto_shutdown=owner.auto_shutdown,
        dynamic=dynamic,
        max_children=_checked_max_children(max_children),
    )


def _checked_intensity(max_restarts: Any, max_seconds: Any, backoff: Backoff | None) -> Intensity:
    if not POSITIVE_SECONDS.takes(max_seconds):
        raise SpecError("invalid_period", max_seconds, "max_seconds is a time in seconds, above 0")
    if max_restarts is None:
        if backoff is None or backoff.min <= 0:
            raise SpecError(
                "bad_combination",
                {"max_restarts": None, "backoff": backoff},
                "restarts without a limit need a backoff, or a failing start never rests",
            )
        return Intensity(None, max_seconds)
    if not _MANY.takes(max_restarts):
        hint = "max_restarts is a whole number from 0, or None together with a backoff"
        raise SpecError("invalid_intensity", max_restarts, hint)
    return Intensity(max_restarts, max_seconds)


def _checked_max_children(value: int | None) -> int | None:
    if value is not None and not _MANY.takes(value):
        raise SpecError("invalid_max_children", value, "a whole number from 0, or None")
    return value
