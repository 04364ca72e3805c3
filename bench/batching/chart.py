"""A line for each policy over loads, as an SVG picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 640, 320, 48
COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#17becf")


def chart(title: str, loads: Sequence[str], lines: Mapping[str, Sequence[float]], unit: str) -> str:
    """Loads stand at equal distances; values are drawn from 0 up.

    Args:
        lines: a value for each load, by the policy's name; the first one is drawn thicker, and on top.
        unit: of the values.
    """
    most = max(value for values in lines.values() for value in values) or 1.0
    step = (WIDTH - 2 * MARGIN) / max(len(loads) - 1, 1)

    def x(place: int) -> float:
        return MARGIN + place * step

    def y(value: float) -> float:
        return HEIGHT - MARGIN - value / most * (HEIGHT - 2 * MARGIN)

    drawn = [f'<text x="{MARGIN}" y="18" font-size="13">{escape(title)}</text>']
    for part in (0.0, 0.5, 1.0):
        at = y(part * most)
        drawn.append(f'<path d="M{MARGIN} {at:.0f}H{WIDTH - MARGIN}" stroke="#ddd"/>')
        drawn.append(f'<text x="4" y="{at + 4:.0f}">{part * most:.3g}</text>')
    drawn.append(f'<text x="4" y="34">{escape(unit)}</text>')
    for place, load in enumerate(loads):
        at = HEIGHT - MARGIN + 16
        drawn.append(f'<text x="{x(place):.0f}" y="{at}" text-anchor="middle">{escape(load)}</text>')
    for number, (name, values) in reversed(list(enumerate(lines.items()))):
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(values))
        colour, thick = COLOURS[number % len(COLOURS)], 1.2 if number else 3
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{thick}"/>')
        left = MARGIN + number * (WIDTH - MARGIN) / len(lines)
        drawn.append(f'<text x="{left:.0f}" y="{HEIGHT - 6}" fill="{colour}">{escape(name)}</text>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11"'
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{background}{"".join(drawn)}</svg>\n'
