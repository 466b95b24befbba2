"""Charts as SVG, made of bars: readable on a light page and on a dark one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Ours first; the others as they come.
COLOURS = ("#1b6ca8", "#7fb2d8", "#2a9d8f", "#d9a441", "#8e6bbf", "#9a9a9a", "#c0504d")
STYLE = (
    "<style>text { fill: #222 } line { stroke: #666 } "
    "@media (prefers-color-scheme: dark) { text { fill: #ddd } line { stroke: #999 } }</style>"
)


def document(width: float, height: float, parts: list[str]) -> str:
    """The whole file."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'font-family="sans-serif" font-size="11">\n{STYLE}\n' + "\n".join(parts) + "\n</svg>\n"
    )


def bars(groups: Mapping[str, Mapping[str, float]]) -> str:
    """One group of bars under each title; the longest bar of a group is as long as the page."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    left, width, bar, y = 8 + 7 * max(map(len, names)), 440, 16, 20
    parts: list[str] = []
    for title, group in groups.items():
        parts.append(f'<text x="4" y="{y}" font-weight="bold">{title}</text>')
        y += 8
        for name, value in group.items():
            length = value / max(group.values()) * width
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(
                f'<text x="4" y="{y + 11}">{name}</text>'
                f'<rect x="{left}" y="{y}" width="{length:.0f}" height="{bar - 3}" '
                f'fill="{colour}"/>'
                f'<text x="{left + length + 5:.0f}" y="{y + 11}">{value:,.0f}</text>'
            )
            y += bar
        y += 24
    return document(left + width + 70, y - 10, parts)
