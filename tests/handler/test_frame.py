"""Tables as MLflow's clients send them: what pandas would guess or cut is an error."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.frame import (
    Frame,
    column_numbers,
    from_columns,
    from_csv,
    from_records,
    from_rows,
    from_split,
)

NAN = math.nan


def lists(frame: Frame) -> dict[Any, list[Any]]:
    return {name: list(cells) for name, cells in frame.columns.items()}


@pytest.mark.parametrize(
    ("found", "columns", "rows"),
    [
        (from_split({"columns": ["a", "b"], "index": [5], "data": [[1, 2]]}), {"a": [1], "b": [2]}, 1),
        (from_split({"data": [[1, 2], [3, 4]]}), {0: [1, 3], 1: [2, 4]}, 2),
        (from_split({"data": [1, 2]}), {0: [1, 2]}, 2),
        (from_split({"columns": ["a"], "data": []}), {"a": []}, 0),
        (from_records([{"a": 1}, {"b": 2, "a": 3}]), {"a": [1, 3], "b": [None, 2]}, 2),
        (from_records([[1, 2]]), {0: [1], 1: [2]}, 1),
        (from_records([]), {}, 0),
        (from_columns({"a": [1, 2], "b": [3, 4]}), {"a": [1, 2], "b": [3, 4]}, 2),
        (from_columns({"a": 1, "b": None}), {"a": [1], "b": [None]}, 1),
        (from_csv("a,b\n1,2.5\n"), {"a": [1], "b": [2.5]}, 1),
        (from_csv('"a","b b"\r\n"1", x \r\n'), {"a": [1], "b b": ["x"]}, 1),
        (from_csv('\ufeffa,"b\nb"\n1,2\r\n'), {"a": [1], "b\nb": [2]}, 1),
        (from_csv("a,b,c\nNA,,null\n\n1\nTrue,1_0,-inf"), None, 3),
    ],
)
def test_forms(found: Frame, columns: dict[Any, list[Any]] | None, rows: int) -> None:
    expected = {"a": [None, 1, True], "b": [None, None, "1_0"], "c": [None, None, -math.inf]}
    assert lists(found) == (expected if columns is None else columns)
    assert found.rows == rows


@pytest.mark.parametrize(
    ("make", "given", "why"),
    [
        (from_split, [[1]], "must be an object with `data`"),
        (from_split, {"columns": ["a"]}, "must be an object with `data`"),
        (from_split, {"data": [], "dtype": "x"}, "must be an object with `data`"),
        (from_split, {"data": {}}, "must be arrays"),
        (from_split, {"data": [[1]], "columns": "a"}, "must be arrays"),
        (from_split, {"data": [[1]], "columns": [["a"]]}, "is no name of a column"),
        (from_split, {"data": [[1], [1, 2]]}, "row 1 has 2 cells, and there are 1 columns"),
        (from_split, {"data": [[1]], "columns": ["a", "b"]}, "row 0 has 1 cells, and there are 2 columns"),
        (from_split, {"data": [[1, 2]], "columns": ["a", "a"]}, "two columns have the same name"),
        (from_records, {"a": [1]}, "must be an array of objects"),
        (from_records, [{"a": 1}, 2], "must all be objects"),
        (from_columns, {"a": [1], "b": [1, 2]}, "not arrays of one length"),
        (from_columns, {"a": [1], "b": 1}, "not arrays of one length"),
        (from_csv, "", "is empty"),
        (from_csv, "a,b\n1,2,3\n", "row 0 has 3 cells, and there are 2 columns"),
        (from_csv, 'a,b\n"1"x,2\n', "is no CSV"),
    ],
)
def test_what_is_no_table_is_said(make: Any, given: Any, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        make(given)


@pytest.mark.parametrize(
    ("kind", "cells", "found"),
    [
        ("double", [1, 2.5, None, True, "3.5"], [1, 2.5, NAN, 1, 3.5]),
        ("float", [], []),
        ("string", ["1.5", None], [1.5, NAN]),
        ("any", [1], [1]),
        ("long", [1, 2.0, -3, True], [1, 2, -3, 1]),
        ("integer", [(1 << 31) - 1], [(1 << 31) - 1]),
        ("boolean", [True, False, 1, 0.0], [1, 0, 1, 0]),
    ],
)
def test_cells_are_numbers_of_their_columns_type(kind: str, cells: list[Any], found: list[float]) -> None:
    assert column_numbers("a", cells, kind).tolist() == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize(
    ("kind", "cells", "why"),
    [
        ("double", [1, "x" * 99], "column 'a', row 1: 'xxx"),
        ("double", [[1], [2]], "row 0: [1] is no number"),
        ("double", [10**400], "is no number"),
        ("long", [1, 1.5], "row 1: 1.5 is no long"),
        ("long", [None], "row 0: None is no long"),
        ("integer", [1 << 31], "is no integer"),
        ("boolean", [2], "row 0: 2 is no boolean"),
        ("datetime", ["2026-01-01"], "of type datetime, which a PyTorch model has no tensor for"),
        ("binary", ["1234"], "of type binary"),
    ],
)
def test_a_cell_that_is_none_is_named(kind: str, cells: list[Any], why: str) -> None:
    with pytest.raises(ValueError, match="column 'a'") as raised:
        column_numbers("a", cells, kind)
    assert why in str(raised.value)
    assert len(str(raised.value)) < 100


def test_columns_are_taken_by_name_in_the_order_asked_for() -> None:
    frame = from_rows(["a", "b", "c"], [[1, 2, 3], [4, 5, 6]])
    assert frame.numbers(["c", "a"], ["long", "double"]).tolist() == [[3, 1], [6, 4]]
    with pytest.raises(ValueError, match="no columns"):
        frame.numbers([], [])


@given(st.lists(st.lists(st.floats(allow_nan=False), min_size=2, max_size=2), max_size=5))
def test_numbers_go_through_csv_unchanged(rows: list[list[float]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["x", "y"], *rows])
    found = from_csv(text.getvalue()).numbers(["x", "y"], ["double", "double"])
    assert found.tolist() == rows
