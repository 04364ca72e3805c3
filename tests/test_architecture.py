"""docs/architecture.md is of the code as it is: picture, sentences, and the places it sends people to."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "torchkeeper"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
JOURNEY = (ROOT / "docs" / "journey.md").read_text()

_spec = importlib.util.spec_from_file_location("draw_house", ROOT / "scripts" / "draw_house.py")
assert _spec is not None
assert _spec.loader is not None
draw_house = sys.modules["draw_house"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(draw_house)


def test_the_picture_is_current() -> None:
    drawn = draw_house.draw(draw_house.rooms())
    assert draw_house.PICTURE.read_text() == drawn, "python scripts/draw_house.py draws it anew"


def test_a_room_stands_above_all_that_it_imports() -> None:
    house = draw_house.rooms()
    floor_of = {name: place for place, floor in enumerate(draw_house.floors(house)) for name in floor}
    for name, room in house.items():
        assert all(floor_of[other] < floor_of[name] for other in room.imports)


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    room = draw_house.Room
    house = {
        "a": room("a", 1, frozenset({"b", "c"})),
        "b": room("b", 1, frozenset({"c"})),
        "c": room("c", 1, frozenset()),
    }
    assert draw_house.arrows(house) == [("a", "b"), ("b", "c")]
    with pytest.raises(ValueError, match="a circle"):
        draw_house.floors(house | {"c": room("c", 1, frozenset({"a"}))})


def test_every_room_is_told_in_its_own_sentence() -> None:
    told = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", PAGE, re.MULTILINE))
    rooms = {path.parent.name: path for path in PACKAGE.glob("*/__init__.py")}
    rooms |= {path.stem: path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"}
    said = {name: (ast.get_docstring(ast.parse(path.read_text())) or "") for name, path in rooms.items()}
    assert told == {name: text.splitlines()[0] for name, text in said.items()}


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`(\w+(?:/\w+)+(?:\.py|/))`", PAGE))))
def test_the_places_it_names_are_there(place: str) -> None:
    assert (PACKAGE / place).exists() or (ROOT / place).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+\.\w+)`", JOURNEY))))
def test_the_modules_of_the_journey_are_there(name: str) -> None:
    path = PACKAGE.joinpath(*name.split("."))
    assert path.is_dir() or path.with_suffix(".py").is_file()
