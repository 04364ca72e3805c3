"""Draws the house: the package's folders on floors, each above all that it imports.

    python scripts/draw_house.py          writes docs/pictures/house.svg
    python scripts/draw_house.py --check  exit code 1 if that picture is not of the code as it is

Floors come from the imports alone, those for type checkers included. An arrow that follows from others is
left out: where A imports B and B imports C, A's own import of C is not drawn.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "torchkeeper"
PICTURE = ROOT / "docs" / "pictures" / "house.svg"

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 132, 46, 22, 44, 20
#: What each part of the house is painted in.
PAINT = {"front": "#dbeafe", "child": "#fde68a", "shared": "#e5e7eb", "tool": "#dcfce7"}
CHILD = ("worker", "handler", "envelope")
SHARED = ("wire", "errors", "machine", "deadlines")
TOOLS = ("doctor", "manifest", "testing")


@dataclass(frozen=True)
class Room:
    """A folder, or a module that stands in none."""

    name: str
    modules: int
    imports: frozenset[str]


def rooms(package: Path = PACKAGE) -> dict[str, Room]:
    """All rooms by name, with the rooms that each imports."""
    trees: dict[str, ast.Module] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts == ("__init__",):
            continue
        name = ".".join(parts).removesuffix(".__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    folders = {name.split(".")[0] for name in trees}
    found = {}
    for folder in sorted(folders):
        inside = [name for name in trees if name.split(".")[0] == folder]
        targets = {target for name in inside for target in _imports(trees[name])} & folders
        modules = sum(1 for name in inside if name != folder or len(inside) == 1)
        found[folder] = Room(folder, modules, frozenset(targets - {folder}))
    return found


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("torchkeeper."))


def floors(house: Mapping[str, Room]) -> list[list[str]]:
    """Names by floor, the ground first: a room stands one above the highest that it imports.

    Raises:
        ValueError: rooms import each other in a circle.
    """
    heights: dict[str, int] = {}

    def height(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise ValueError(f"a circle: {' -> '.join((*path, name))}")
        if name not in heights:
            heights[name] = 1 + max(
                (height(other, (*path, name)) for other in house[name].imports), default=-1
            )
        return heights[name]

    for name in sorted(house):
        height(name, ())
    return [
        sorted(name for name in house if heights[name] == floor) for floor in range(max(heights.values()) + 1)
    ]


def arrows(house: Mapping[str, Room]) -> list[tuple[str, str]]:
    """The imports that do not follow from others."""

    def reach(name: str) -> set[str]:
        direct = house[name].imports
        return set(direct).union(*(reach(other) for other in direct))

    return [
        (name, other)
        for name in sorted(house)
        for other in sorted(house[name].imports)
        if not any(other in reach(between) for between in house[name].imports - {other})
    ]


def draw(house: Mapping[str, Room]) -> str:
    """The picture as SVG; the same house gives the same bytes."""
    by_floor = floors(house)
    drawn = arrows(house)
    widest = max(len(floor) for floor in by_floor)
    width = 2 * MARGIN + widest * (WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + len(by_floor) * (HEIGHT + GAP_Y) - GAP_Y
    places: dict[str, tuple[float, float]] = {}
    for number, floor in enumerate(reversed(by_floor)):
        row = _ordered(floor, places, drawn)
        left = (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
        for index, name in enumerate(row):
            places[name] = (left + index * (WIDTH + GAP_X), MARGIN + number * (HEIGHT + GAP_Y))
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
            'orient="auto"><path d="M0 0 8 4 0 8z" fill="#6b7280"/></marker>',
            *(_arrow(places[above], places[below]) for above, below in drawn),
            *(_box(house[name], *places[name]) for name in sorted(places)),
            "</svg>\n",
        )
    )


def _ordered(
    floor: list[str], places: Mapping[str, tuple[float, float]], drawn: list[tuple[str, str]]
) -> list[str]:
    """The rooms of a floor from left to right, each below those that import it."""

    def middle(name: str) -> float:
        above = [
            places[importer][0] for importer, imported in drawn if imported == name and importer in places
        ]
        return sum(above) / len(above) if above else 0.0

    return sorted(floor, key=lambda name: (middle(name), name))


def _arrow(above: tuple[float, float], below: tuple[float, float]) -> str:
    x1, y1 = above[0] + WIDTH / 2, above[1] + HEIGHT
    x2, y2 = below[0] + WIDTH / 2, below[1]
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" fill="none" '
        'stroke="#9ca3af" marker-end="url(#tip)"/>'
    )


def _box(room: Room, x: float, y: float) -> str:
    part = "child" if room.name in CHILD else "shared" if room.name in SHARED else "front"
    paint = PAINT["tool" if room.name in TOOLS else part]
    lines = [(room.name, 15), *([(f"{room.modules} modules", 10)] if room.modules > 1 else [])]
    top = y + HEIGHT / 2 + 5 - 8 * (len(lines) - 1)
    texts = (
        f'<text x="{x + WIDTH / 2:g}" y="{top + 16 * place:g}" text-anchor="middle" font-size="{size}">'
        f"{escape(text)}</text>"
        for place, (text, size) in enumerate(lines)
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{paint}" '
        f'stroke="#374151"/>{"".join(texts)}'
    )


def main() -> int:
    """Writes the picture, or checks it; returns the exit code."""
    picture = draw(rooms())
    if "--check" in sys.argv[1:]:
        return int(not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != picture)
    PICTURE.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
