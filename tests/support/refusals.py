"""What a call that takes options says about a value: nothing, or one clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["refusal"]


def refusal(call: Callable[[], object], *kinds: type[Exception]) -> str | None:
    """The text of the error of one of `kinds` that `call` raises; None when it takes it.

    Any other error is raised: it comes from inside.
    """
    try:
        call()
    except kinds as error:
        return f"{type(error).__name__}: {error}"
    return None
