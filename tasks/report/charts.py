"""Charts as SVG that stands inside a page: curves, and bars by class.  Colors come from the page's style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

SERIES_COLORS = 6
"""Colors that the style sheet has: classes `series-0` and on."""


@dataclass(frozen=True)
class Curve:
    """A line in a chart."""

    name: str
    x: np.ndarray
    y: np.ndarray


def curve_chart(
    curves: Sequence[Curve],
    x_label: str,
    y_label: str,
    *,
    raw: Curve | None = None,
    marks: Sequence[int] = (),
    first_color: int = 0,
) -> Markup:
    """Lines over a common axis.

    Args:
        curves: at most `SERIES_COLORS`, of finite numbers; named in a legend where there are several.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis, which starts at 0.
        raw: a curve drawn faintly below the others, such as the loss before smoothing.
        marks: for each curve the position of the point to mark; none where empty.
        first_color: number of the first curve's color.
    """
    width, height, left, top, right, bottom = 420, 220, 46, 24, 12, 36
    drawn = [*curves, *([raw] if raw else [])]
    x_ticks = nice_ticks(min(c.x.min() for c in drawn), max(c.x.max() for c in drawn))
    y_ticks = nice_ticks(min(0.0, *(c.y.min() for c in drawn)), max(c.y.max() for c in drawn))

    def place(curve: Curve) -> np.ndarray:
        x = left + (curve.x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (width - left - right)
        y = height - bottom - (curve.y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (height - top - bottom)
        return np.stack([x, y], axis=1)  # (points,) -> (points, 2)

    def at(x: float, y: float) -> tuple[float, float]:
        across, down = place(Curve("", np.array([x]), np.array([y])))[0].tolist()
        return across, down

    parts = []
    for tick in y_ticks:
        y = at(x_ticks[0], tick)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        parts.append(f'<text x="{at(tick, 0)[0]:.1f}" y="{height - 20}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{width - right}" y="{height - 4}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<text x="4" y="14">{escape(y_label)}</text>')
    if raw is not None:
        parts.append(_line(place(raw), "raw"))
    for number, curve in enumerate(curves):
        parts.append(_line(place(curve), f"series-{first_color + number}"))
        for mark in marks[number : number + 1]:
            x, y = place(curve)[mark]
            parts.append(f'<circle class="series-{first_color + number} dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    label = escape(f"{y_label} over {x_label}: {', '.join(curve.name for curve in curves)}")
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>')


def class_bars(figures: Mapping[str, float | None]) -> Markup:
    """One bar a series, in the order given: shares in [0, 1], labeled as points of 100; None is drawn as a dash."""
    width, row, label = 260, 16, 34
    parts = []
    for number, (name, share) in enumerate(figures.items()):
        top = number * row
        length = max(1.0, (share or 0) * (width - label))
        percent = "–" if share is None else f"{100 * share:.1f}"
        parts.append(
            f'<g><title>{escape(name)}: {percent}</title><rect class="track" x="0" y="{top + 3}" '
            f'width="{width - label}" height="9" rx="2"/><rect class="series-{number}" x="0" y="{top + 3}" '
            f'width="{length:.1f}" height="9" rx="2"/>'
            f'<text x="{width}" y="{top + 12}" text-anchor="end">{percent}</text></g>'
        )
    return Markup(f'<svg viewBox="0 0 {width} {row * len(figures)}" role="img">{"".join(parts)}</svg>')


def nice_ticks(low: float, high: float, intervals: int = 4) -> list[float]:
    """Round numbers, evenly spaced, from at most `low` to at least `high`, about as many as asked."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / intervals
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{position * step:.10g}") for position in range(first, last + 1)]


def thinned(curve: Curve, points: int) -> Curve:
    """At most so many points, each the mean of a run of neighbors."""
    if len(curve.x) <= points:
        return curve
    runs = np.array_split(np.arange(len(curve.x)), points)
    return Curve(curve.name, *(np.array([values[run].mean() for run in runs]) for values in (curve.x, curve.y)))


def smoothed(curve: Curve, share: float = 0.05) -> Curve:
    """Running mean over a share of the points on both sides together; near the ends over the points that there are."""
    reach = max(1, round(len(curve.y) * share / 2))
    total = np.concatenate([[0.0], np.cumsum(curve.y)])
    position = np.arange(len(curve.y))
    first, last = np.maximum(position - reach, 0), np.minimum(position + reach + 1, len(curve.y))
    return Curve(curve.name, curve.x, (total[last] - total[first]) / (last - first))


def _line(points: np.ndarray, style: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())
    return f'<polyline class="{style} curve" points="{path}"/>'
