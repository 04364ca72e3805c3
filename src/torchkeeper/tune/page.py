"""The report as one HTML page that needs nothing from elsewhere: Pareto fronts and all figures. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from torchkeeper.tune.candidates import Candidate, variant_name
from torchkeeper.tune.choosing import FULL
from torchkeeper.tune.results import LoadKind, Measurement, TuneResults, of_final

#: The file's name in the output folder.
PAGE = "report.html"
#: Of a plot, in pixels, and the room around it for its axes.
_WIDTH, _HEIGHT, _LEFT, _BELOW = 560, 320, 64, 40
_TICKS = 5
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em;
  color: #1a1a1a; background: #fff }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
td, th { padding: .25em .7em; text-align: right; border-bottom: 1px solid #8884 }
td:first-child, th:first-child, td.text { text-align: left }
tr.won td { font-weight: bold }
figure { display: inline-block; margin: 0 1em 1em 0 }
svg { font: 11px system-ui, sans-serif; fill: currentColor }
.axis { stroke: currentColor; stroke-width: 1 } .grid { stroke: currentColor; stroke-opacity: .15 }
.point { fill: #8886 } .front { fill: #1769aa } .won { fill: #c2410c }
.line { fill: none; stroke: #1769aa; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { body { color: #e8e8e8; background: #161616 } .front { fill: #6db3f2 }
  .line { stroke: #6db3f2 } .won { fill: #fb923c } }
"""


@dataclass(frozen=True)
class Point:
    """A candidate under a load: what it gives, what it costs, and what is said of it."""

    candidate: Candidate
    load: LoadKind
    rate: float
    cost: float
    told: str


def front(points: Iterable[Point]) -> list[Point]:
    """Those than which none gives as much for less, by rising cost."""
    found: list[Point] = []
    for one in sorted(points, key=lambda point: (point.cost, -point.rate)):
        if not found or one.rate > found[-1].rate:
            found.append(one)
    return found


def page(results: TuneResults, told: Sequence[str]) -> str:
    """The page's HTML.

    Args:
        results: all that was measured.
        told: the sentences of how it ended.
    """
    subject, winner = results.subject, results.winner.candidate if results.winner else None
    out = {one.candidate for one in results.outs}
    served = [one for one in results.measurements if one.candidate not in out]
    machine = f"{subject.cores} cores, {subject.processor or 'an unnamed processor'}"
    title = f"torchkeeper tune: {subject.archive}"
    by_tail = _points(served, lambda one: _milliseconds(one.latencies.get("99")))
    by_memory = _points([one for one in served if one.load == FULL], lambda one: one.memory / 1e6)
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(sentence)}</p>" for sentence in told),
        f"<p>{subject.samples} samples to {escape(subject.route)}, on {escape(machine)}; torchkeeper "
        f"{escape(subject.version)}; archive sha256 <code>{escape(subject.digest)}</code>.</p>",
        "<h2>What there is to choose from</h2>",
        "<p>Each point is a set-up under a load; blue ones are on the front: none gives more for less.</p>",
        _plot(by_tail, "p99 latency, ms", winner),
        _plot(by_memory, "memory of the workers, MB, at 64 connections", winner),
        "<h2>All measurements</h2>",
        _table(_MEASURED, [_measured(one) for one in served], [one.candidate == winner for one in served]),
        "<h2>What a batch of n costs a worker</h2>",
        _table(_COSTS, _costs(results)),
    ]
    if results.outs:
        rows = [(str(one.candidate), one.why) for one in results.outs]
        parts += ["<h2>Out</h2>", _table(("set-up", "why"), rows)]
    if results.remarks:
        parts += ["<h2>Not tried</h2>", *(f"<p>{escape(one)}</p>" for one in results.remarks)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


_COSTS = ("variant", "threads", "fixed, µs", "per row, µs", "loaded in, s", "memory, MB")
_MEASURED = (
    *("set-up", "load", "round", "requests/s", "p50, ms", "p90, ms", "p99, ms", "memory, MB"),
    *("load's own share of a core", "sent late (p99), ms"),
)


def _measured(one: Measurement) -> tuple[str, ...]:
    tails = [_milliseconds(one.latencies.get(percent)) for percent in ("50", "90", "99")]
    return (
        *(str(one.candidate), str(one.load), str(one.round or "race"), f"{one.rate:,.0f}"),
        *("" if tail is None else _short(tail) for tail in tails),
        *(
            f"{one.memory / 1e6:,.0f}",
            f"{one.generator:.0%}",
            f"{one.lag * 1e3:.2g}" if one.load.share else "",
        ),
    )


def _costs(results: TuneResults) -> list[tuple[str, ...]]:
    rows = []
    for one in results.costs:
        figures: tuple[str, ...] = ("out", "", "", "")
        if one.cost is not None:
            figures = (
                *(f"{one.cost.fixed * 1e6:,.0f}", f"{one.cost.per_row * 1e6:,.0f}"),
                *(f"{one.load_seconds:.1f}", f"{one.memory / 1e6:,.0f}"),
            )
        rows.append((variant_name(one.execution), str(one.execution.threads or ""), *figures))
    return rows


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _points(measurements: Iterable[Measurement], cost: Callable[[Measurement], float | None]) -> list[Point]:
    """A point for each candidate and load: the mean of its rounds."""
    groups: dict[tuple[Candidate, LoadKind], list[Measurement]] = {}
    for one in measurements:
        if cost(one) is not None:
            groups.setdefault((one.candidate, one.load), []).append(one)
    found = []
    for (candidate, load), ours in groups.items():
        counted = of_final(ours)
        rate = sum(one.rate for one in counted) / len(counted)
        each = sum(cost(one) or 0.0 for one in counted) / len(counted)
        told = f"{candidate}; {load}: {rate:,.0f} requests a second, {_short(each)}"
        found.append(Point(candidate, load, rate, each, told))
    return found


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], won: Sequence[bool] = ()) -> str:
    def row(cells: Sequence[str], tag: str, name: str = "") -> str:
        inside = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
        return f"<tr{name}>{inside}</tr>"

    marks = [' class="won"' if is_won else "" for is_won in won] or [""] * len(rows)
    body = [row(cells, "td", mark) for cells, mark in zip(rows, marks, strict=True)]
    return "\n".join(("<table>", row(head, "th"), *body, "</table>"))


def _plot(points: Sequence[Point], cost: str, winner: Candidate | None) -> str:
    """Requests a second over a cost, as SVG."""
    if not points:
        return ""
    right = max(point.cost for point in points) * 1.05 or 1.0
    top = max(point.rate for point in points) * 1.05 or 1.0

    def at(point: Point) -> tuple[float, float]:
        return _LEFT + point.cost / right * _WIDTH, _HEIGHT - point.rate / top * _HEIGHT + 10

    on_front = front(points)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, on_front))
    drawn = [*_axes(right, top, cost), f'<polyline class="line" points="{line}"/>']
    for point in sorted(points, key=lambda one: (one in on_front, one.candidate == winner)):
        kind = "won" if point.candidate == winner else "front" if point in on_front else "point"
        x, y = at(point)
        told = f"<title>{escape(point.told)}</title>"
        drawn.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{told}</circle>')
    size = f'width="{_LEFT + _WIDTH + 20}" height="{_HEIGHT + _BELOW + 10}"'
    label = f'role="img" aria-label="requests a second over {escape(cost)}"'
    return f"<figure><svg {size} {label}>" + "".join(drawn) + "</svg></figure>"


def _axes(right: float, top: float, cost: str) -> list[str]:
    base = _HEIGHT + 10
    drawn = [
        f'<line class="axis" x1="{_LEFT}" y1="{base}" x2="{_LEFT + _WIDTH}" y2="{base}"/>',
        f'<line class="axis" x1="{_LEFT}" y1="10" x2="{_LEFT}" y2="{base}"/>',
        f'<text x="{_LEFT + _WIDTH}" y="{base + 34}" text-anchor="end">{escape(cost)}</text>',
        f'<text x="{_LEFT + 6}" y="20">requests a second</text>',
    ]
    for step in range(1, _TICKS + 1):
        x, y = _LEFT + step / _TICKS * _WIDTH, base - step / _TICKS * _HEIGHT
        drawn += [
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * step / _TICKS:,.0f}</text>',
            f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{_short(right * step / _TICKS)}</text>',
        ]
    return drawn
