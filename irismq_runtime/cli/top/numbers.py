"""Numbers, times and names as they are shown in narrow columns. Pure.

What is not known is a dash, never 0. Names come from other nodes: what a terminal
would obey, and logins of URLs, are taken out of them.
"""

from __future__ import annotations

from typing import Final

from irismq_runtime.safe_text import without_logins

__all__ = ["age", "count", "one_line", "per_second", "seconds"]

UNKNOWN: Final = "-"
_UNITS: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(number: float | None) -> str:
    """Return a count in at most six characters: 12, 99,999, 123k, 4.5M."""
    if number is None:
        return UNKNOWN
    if abs(number) < 100_000:
        return f"{number:,.0f}"
    return _short(number)


def per_second(number: float | None) -> str:
    """Return a rate in at most five characters: 0, 0.3, 42, 1.2k."""
    if number is None:
        return UNKNOWN
    if number == 0:
        return "0"
    return (
        f"{number:.1f}" if number < 9.95 else f"{number:.0f}" if number < 999.5 else _short(number)
    )


def _short(number: float) -> str:
    for size, unit in _UNITS:
        if abs(number) >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if abs(scaled) < 9.95 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}"


def seconds(span: float | None) -> str:
    """Return a latency in at most six characters: 85 us, 3.2 ms, 1.5 s."""
    if span is None:
        return UNKNOWN
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if span >= size * 0.9995 or unit == "us":
            scaled = span / size
            return f"{scaled:.1f} {unit}" if scaled < 9.95 else f"{scaled:.0f} {unit}"
    return UNKNOWN


def age(span: float) -> str:
    """Return how long ago something was: 5 s, 3 min, 2 h, 4 d; the future is now."""
    span = max(0.0, span)
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if span >= size:
            return f"{span / size:.0f} {unit}"
    return f"{span:.0f} s"


def one_line(text: str, width: int = 200) -> str:
    """Return `text` as it may be shown, without logins, in at most `width` characters."""
    shown = without_logins(text)[: 4 * width]
    shown = "".join(c if c.isprintable() else " " for c in shown).strip()
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"
