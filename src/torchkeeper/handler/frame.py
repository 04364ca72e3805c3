"""Tables with named columns, as MLflow's clients send them in place of pandas' DataFrames.

Pure, and without torch and pandas. What pandas guesses or cuts in silence is an error here: rows of unequal
length, more cells than columns, a number that its column's type does not hold. Source: MLflow's scoring
protocol.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from torchkeeper.handler.safe_text import safe_repr

Floats = npt.NDArray[np.float64]

#: Texts of a CSV file that pandas takes for no value.
_MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
_BOOLEANS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
#: Type of a column -> the whole numbers that it holds; None: any number.
_HELD: dict[str, tuple[int, int] | None] = {
    "boolean": (0, 1),
    "integer": (-(1 << 31), (1 << 31) - 1),
    "long": (-(1 << 63), (1 << 63) - 1),
    **dict.fromkeys(("float", "double", "string", "any")),
}


@dataclass(frozen=True)
class Frame:
    """Columns of one length by their names; 0, 1, 2 and so on where the client gave none."""

    columns: Mapping[Any, Sequence[Any]]
    rows: int

    def numbers(self, names: Iterable[Any], kinds: Iterable[str]) -> Floats:
        """Some columns as a matrix with a row for each of the frame's.

        Raises:
            ValueError: a cell is no number of its column's type; or there are no columns.
        """
        found = [
            column_numbers(name, self.columns[name], kind) for name, kind in zip(names, kinds, strict=True)
        ]
        if not found:
            raise ValueError("the table has no columns")
        return np.stack(found, axis=1)


def column_numbers(name: Any, cells: Sequence[Any], kind: str) -> Floats:
    """A column's cells as numbers; no value is NaN.

    Raises:
        ValueError: one is no number of its type, which is one of MLflow's.
    """
    if kind not in _HELD:
        raise ValueError(f"column {name!r} is of type {kind}, which a PyTorch model has no tensor for")
    try:
        found = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or found.ndim != 1:
        place = next((place for place, cell in enumerate(cells) if not _is_number(cell)), 0)
        raise ValueError(f"column {name!r}, row {place}: {safe_repr(cells[place], 40)} is no number")
    if (held := _HELD[kind]) is not None:
        low, high = held
        wrong = ~((found >= low) & (found <= high) & (found == np.floor(found)))
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"column {name!r}, row {place}: {safe_repr(cells[place], 40)} is no {kind}")
    return found


def _is_number(cell: Any) -> bool:
    try:
        return np.array(cell, dtype=np.float64).ndim == 0
    except (TypeError, ValueError, OverflowError):
        return False


def from_rows(names: Sequence[Any] | None, rows: Sequence[Any]) -> Frame:
    """Rows of cells, or of one cell where they are no lists.

    Raises:
        ValueError: they are of unequal length, or not as many as the names; or a name is there twice.
    """
    lists = [row if isinstance(row, list) else [row] for row in rows]
    width = len(names) if names is not None else len(lists[0]) if lists else 0
    for place, row in enumerate(lists):
        if len(row) != width:
            raise ValueError(f"row {place} has {len(row)} cells, and there are {width} columns")
    known = list(range(width)) if names is None else [_name(name) for name in names]
    if len(set(known)) < len(known):
        raise ValueError("two columns have the same name")
    cells: Iterable[Sequence[Any]] = zip(*lists, strict=True) if lists else [()] * width
    return Frame(dict(zip(known, cells, strict=True)), len(lists))


def _name(name: Any) -> Any:
    if not isinstance(name, str | int | float | None):
        raise ValueError(f"{safe_repr(name, 40)} is no name of a column")
    return name


def from_split(given: Any) -> Frame:
    """{"columns": [...], "data": [[...], ...]}; an index is of no use to a model.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(given, dict) or "data" not in given or given.keys() - {"columns", "data", "index"}:
        raise ValueError("dataframe_split must be an object with `data`, and `columns` and `index` if wanted")
    columns, rows = given.get("columns"), given["data"]
    if not isinstance(rows, list) or not isinstance(columns, list | None):
        raise ValueError("dataframe_split: `columns` and `data` must be arrays")
    return from_rows(columns, rows)


def from_records(given: Any) -> Frame:
    """[{name: cell, ...}, ...]; a name that a record lacks has no value there.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(given, list):
        raise ValueError("records must be an array of objects")
    if given and not any(isinstance(one, dict) for one in given):
        return from_rows(None, given)
    if not all(isinstance(one, dict) for one in given):
        raise ValueError("records must all be objects")
    names = dict.fromkeys(name for one in given for name in one)
    return Frame({name: [one.get(name) for one in given] for name in names}, len(given))


def from_columns(given: Mapping[str, Any]) -> Frame:
    """{name: cells, ...}, or a single row {name: cell, ...}.

    Raises:
        ValueError: they are of unequal length.
    """
    if not any(isinstance(cells, list) for cells in given.values()):
        return from_records([dict(given)])
    lengths = {name: len(cells) for name, cells in given.items() if isinstance(cells, list)}
    if len(lengths) < len(given) or len(set(lengths.values())) > 1:
        raise ValueError("the columns are not arrays of one length")
    return Frame(dict(given), next(iter(lengths.values())))


def from_csv(text: str) -> Frame:
    """A header and rows; a row that ends early has no values at its end, empty lines are passed over.

    Raises:
        ValueError: there is no header, or a row has more cells than that.
    """
    lines = io.StringIO(text.removeprefix("\ufeff"), newline="")
    try:
        header, *rows = [row for row in csv.reader(lines, strict=True) if row]
    except csv.Error as error:
        raise ValueError(f"the body is no CSV: {error}") from None
    except ValueError:
        raise ValueError("the body is empty: CSV needs a line with the columns' names") from None
    cells = [[_csv_cell(cell) for cell in row] for row in rows]
    return from_rows(header, [row + [None] * (len(header) - len(row)) for row in cells])


def _csv_cell(text: str) -> Any:
    if (text := text.strip()) in _MISSING:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    for number in (int, float) if "_" not in text else ():
        with contextlib.suppress(ValueError):
            return number(text)
    return text
