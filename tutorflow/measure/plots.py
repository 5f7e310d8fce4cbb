"""Small plots as SVG text, for pages that need nothing else: no scripts, no fonts, no links.

Each plot says what it shows in its title and in words for those who cannot see it; series are told
apart by place and dash as well as by shade, so that a black-and-white print can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 130, 12, 40
SHADES = ("#1f5f8b", "#b4531a", "#4a7c3a", "#6b4f8a", "#555555")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2")
INK, GRID = "#222222", "#d8d8d8"


@dataclass(frozen=True)
class Series:
    """A named line: points in order of x, and the band around it where there is one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    is_step: bool = False


@dataclass(frozen=True)
class Interval:
    """One row of a plot of intervals; ``low`` None: too few to say."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    note: str = ""


def lines(
    series: Sequence[Series],
    title: str,
    x_label: str,
    y_label: str,
    *,
    percent: bool = False,
    y_from: float | None = 0,
) -> str:
    """Lines over a common x, named at their ends. Nothing to draw gives an empty text."""
    drawn = [one for one in series if len(one.x)]
    if not drawn:
        return ""
    x_low, x_high = _bounds([x for one in drawn for x in one.x])
    y_values = [y for one in drawn for part in (one.y, one.low, one.high) for y in part or ()]
    y_low, y_high = _bounds([*y_values, *([] if y_from is None else [y_from])])
    frame = _Frame(x_low, x_high, y_low, y_high)
    parts = [*_axes(frame, x_label, y_label, percent)]
    ends = _spread([frame.y(one.y[-1]) for one in drawn])
    for number, one in enumerate(drawn):
        shade, dash = SHADES[number % len(SHADES)], DASHES[number % len(DASHES)]
        if one.low is not None and one.high is not None:
            band = [*_points(frame, one.x, one.low), *_points(frame, one.x, one.high)[::-1]]
            parts.append(f'<polygon points="{_joined(band)}" fill="{shade}" fill-opacity="0.15"/>')
        points = _steps(frame, one) if one.is_step else _points(frame, one.x, one.y)
        parts.append(
            f'<polyline points="{_joined(points)}" fill="none" stroke="{shade}" '
            f'stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        parts.append(_text(frame.right + 6, ends[number] + 4, one.name, fill=shade))
    return _svg(title, parts, HEIGHT)


def bars(
    names: Sequence[str],
    groups: Sequence[tuple[str, Sequence[float]]],
    title: str,
    y_label: str,
    *,
    percent: bool = False,
    line: tuple[str, float] | None = None,
) -> str:
    """Bars side by side for each name, one per group; ``line``: a named level across."""
    if not names or not groups:
        return ""
    values = [value for _, some in groups for value in some]
    y_low, y_high = _bounds([0, *values, *([line[1]] if line else [])])
    frame = _Frame(0, len(names), y_low, y_high)
    parts = [*_axes(frame, "", y_label, percent, x_ticks=False)]
    slot = (frame.right - LEFT) / len(names)
    wide = slot * 0.8 / len(groups)
    for number, (_, some) in enumerate(groups):
        shade = SHADES[number % len(SHADES)]
        for place, value in enumerate(some):
            x = LEFT + slot * (place + 0.1) + wide * number
            y = frame.y(max(value, 0))
            high = abs(frame.y(0) - frame.y(value))
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" '
                f'fill="{shade}"/>'
            )
    every = math.ceil(len(names) / 12)
    for place, name in enumerate(names):
        if place % every == 0:
            x = LEFT + slot * (place + 0.5)
            parts.append(_text(x, frame.bottom + 16, name, anchor="middle"))
    for number, (name, _) in enumerate(groups):
        parts.append(
            _text(frame.right + 6, TOP + 14 + 18 * number, name, fill=SHADES[number % len(SHADES)])
        )
    if line is not None:
        y = frame.y(line[1])
        parts.append(
            f'<line x1="{LEFT}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{INK}" '
            'stroke-dasharray="4 3"/>'
        )
        parts.append(_text(frame.right + 6, y + 4, line[0]))
    return _svg(title, parts, HEIGHT)


def intervals(rows: Sequence[Interval], title: str, x_label: str) -> str:
    """One interval per row around zero, in points; a row without one says why."""
    if not rows:
        return ""
    left, right = 220, WIDTH - 150
    values = [v for row in rows for v in (row.low, row.high, row.value) if v is not None]
    low, high = _bounds([0.0, *values, -0.05, 0.05])
    bottom = TOP + 24 * len(rows)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for tick in _ticks(low, high):
        parts.append(
            f'<line x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{TOP}" y2="{bottom}" '
            f'stroke="{INK if abs(tick) < 1e-12 else GRID}"/>'
        )
        parts.append(_text(at(tick), bottom + 16, f"{100 * tick:+.3g}", anchor="middle"))
    parts.append(_text((left + right) / 2, bottom + 34, x_label, anchor="middle"))
    for number, row in enumerate(rows):
        y = TOP + 24 * number + 12
        parts.append(_text(left - 8, y + 4, row.name, anchor="end"))
        if row.value is not None and row.low is not None and row.high is not None:
            parts.append(
                f'<line x1="{at(row.low):.1f}" x2="{at(row.high):.1f}" y1="{y}" y2="{y}" '
                f'stroke="{SHADES[0]}" stroke-width="2"/>'
            )
            parts.append(f'<circle cx="{at(row.value):.1f}" cy="{y}" r="4" fill="{SHADES[0]}"/>')
        parts.append(_text(right + 8, y + 4, row.note))
    return _svg(title, parts, bottom + 44)


# -- the frame -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        span = (self.x_high - self.x_low) or 1.0
        return LEFT + (value - self.x_low) / span * (self.right - LEFT)

    def y(self, value: float) -> float:
        span = (self.y_high - self.y_low) or 1.0
        return self.bottom - (value - self.y_low) / span * (self.bottom - TOP)


def _axes(
    frame: _Frame, x_label: str, y_label: str, percent: bool, x_ticks: bool = True
) -> list[str]:
    parts = []
    for tick in _ticks(frame.y_low, frame.y_high):
        y = frame.y(tick)
        said = f"{100 * tick:.3g} %" if percent else f"{tick:,.4g}"
        parts.append(
            f'<line x1="{LEFT}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        )
        parts.append(_text(LEFT - 6, y + 4, said, anchor="end"))
    for tick in _ticks(frame.x_low, frame.x_high) if x_ticks else ():
        parts.append(_text(frame.x(tick), frame.bottom + 16, f"{tick:,.4g}", anchor="middle"))
    middle = (LEFT + frame.right) / 2
    parts.append(_text(middle, frame.bottom + 34, x_label, anchor="middle"))
    high = (TOP + frame.bottom) / 2
    parts.append(
        f'<text transform="translate(14 {high:.0f}) rotate(-90)" text-anchor="middle" '
        f'fill="{INK}">{escape(y_label)}</text>'
    )
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to high."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if raw <= power * m)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + 1.0)


def _spread(places: Sequence[float], apart: float = 14) -> list[float]:
    """The places, moved down where names would lie on each other."""
    moved = list(places)
    last = -math.inf
    for index in sorted(range(len(places)), key=lambda i: places[i]):
        moved[index] = last = max(places[index], last + apart)
    return moved


def _points(frame: _Frame, x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    return [(frame.x(a), frame.y(b)) for a, b in zip(x, y, strict=True)]


def _steps(frame: _Frame, one: Series) -> list[tuple[float, float]]:
    points = _points(frame, one.x, one.y)
    stepped = points[:1]
    for (_, before), (x, y) in pairwise(points):
        stepped += [(x, before), (x, y)]
    return stepped


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _text(x: float, y: float, said: str, anchor: str = "start", fill: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(said)}</text>'
    )


def _svg(title: str, parts: Sequence[str], height: float) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
