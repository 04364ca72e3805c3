"""MLflow's scoring protocol: a request becomes the tensors of a call, and the call's output its answer.

The model's signature says what the tensors are; without one a table becomes float32, as in MLflow. Nothing
that a signature's type does not hold is cut or turned over: such a request is refused. Knows no contexts and
no files. Source: MLflow's scoring server, and how its flavor pytorch predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from torchkeeper.handler.frame import Frame, from_columns, from_csv, from_records, from_rows, from_split
from torchkeeper.handler.json_text import read_json
from torchkeeper.handler.nested import nested_tensor
from torchkeeper.handler.ports import DATATYPES
from torchkeeper.handler.probe import DTYPES
from torchkeeper.handler.safe_text import safe_repr
from torchkeeper.wire.mlmodel import Mlmodel, ScoringParam, TensorInput

#: The forms of a request, each under its name.
SPLIT, RECORDS, INSTANCES, INPUTS = "dataframe_split", "dataframe_records", "instances", "inputs"
FORMS = (SPLIT, RECORDS, INSTANCES, INPUTS)
_WANTED = f"the body must be a JSON object with one of {', '.join(FORMS)}, or text/csv"


@dataclass(frozen=True)
class Question:
    """A call of the model: its tensors, in the order of its inputs, and what else it is told."""

    tensors: tuple[torch.Tensor, ...]
    #: Whether it was a table: its answer is one too.
    table: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lane(self) -> tuple[Any, ...]:
        """What questions have in common that are asked in one call."""
        shapes = tuple((tensor.dtype, tensor.shape[1:]) for tensor in self.tensors)
        return shapes, repr(sorted(self.params.items()))

    @property
    def rows(self) -> int | None:
        """How many rows all tensors have; None: there is no such number."""
        found = {tensor.shape[0] if tensor.dim() else None for tensor in self.tensors}
        return found.pop() if len(found) == 1 else None


def torch_type(tensor: TensorInput) -> torch.dtype:
    """The type of a signature's tensor.

    Raises:
        ValueError: there is no such tensor.
    """
    found = DTYPES.get(DATATYPES.get(tensor.dtype, ""))
    if found is None:
        raise ValueError(f"the signature has an input of type {tensor.dtype}, which is no tensor's")
    return found


def read_csv(text: str, model: Mlmodel) -> Question:
    """The question of a CSV text.

    Raises:
        ValueError: it is none, or does not fit the signature.
    """
    return _of_table(from_csv(text), model)


def read_body(content: Any, model: Mlmodel, floating: torch.dtype) -> Question:
    """The question of a JSON body, parsed or not.

    Args:
        floating: the type of fractions where no signature has another.

    Raises:
        ValueError: it is none, or does not fit the signature.
    """
    if isinstance(content, bytes | bytearray | memoryview | str):
        try:
            content = read_json(content)
        except ValueError as error:
            raise ValueError(f"{_WANTED}; it is no JSON: {error}") from None
    named = [form for form in FORMS if form in content] if isinstance(content, dict) else []
    if len(named) != 1:
        raise ValueError(_WANTED)
    form, given = named[0], content[named[0]]
    if form == SPLIT:
        found = _of_table(from_split(given), model)
    elif form == RECORDS:
        found = _of_table(from_records(given), model)
    else:
        found = _of_values(given, model, floating)
    return Question(found.tensors, found.table, _params(content.get("params"), model.params))


def read_tensors(given: Mapping[str, Any], model: Mlmodel, floating: torch.dtype) -> Question:
    """The question of arrays by their names; the only one may have any, where the model's input has none.

    Raises:
        ValueError: they do not fit the signature.
    """
    names = [one.name for one in model.columns] or [one.name for one in model.tensors] or [None]
    if names[0] is not None:
        cells = {name: _column_cells(array) for name, array in given.items()} if model.columns else given
        found = _of_values(cells, model, floating)
    elif len(given) == 1:
        found = _of_values(next(iter(given.values())), model, floating)
    else:
        raise ValueError(f"the model has one input without a name; the request has {len(given)}")
    return Question(found.tensors, found.table, _params(None, model.params))


def _column_cells(array: Any) -> Any:
    """An array's numbers as the cells of a column, which is (N) or (N, 1); others stay nested."""
    return (array.reshape(-1) if array.shape[1:] == (1,) else array).tolist()


def answer(output: Any, table: bool, rows: int | None) -> Any:
    """What a model's output is in an answer: nested lists, or a table's records.

    Raises:
        ValueError: it has no such form, in MLflow's server either.
    """
    if not isinstance(output, torch.Tensor):
        raise ValueError(
            f"the model gives a {type(output).__name__}, and MLflow's protocol takes one tensor; "
            "archive it with a handler of your own (--handler)"
        )
    found = output.tolist()
    if not table:
        return found
    if output.dim() not in (1, 2) or output.shape[0] != rows:
        raise ValueError(f"an output of the shape {list(output.shape)} is no table of {rows} rows")
    records = found if output.dim() == 2 else [[value] for value in found]
    return [{str(number): value for number, value in enumerate(row)} for row in records]


# --- tables ----------------------------------------------------------------------------------------------


def _of_table(frame: Frame, model: Mlmodel) -> Question:
    if model.tensors:
        if len(model.tensors) == 1 and model.tensors[0].name is None:
            return Question((_column_tensor(frame, list(frame.columns), model.tensors[0]),))
        _check_names([str(tensor.name) for tensor in model.tensors], frame.columns)
        return Question(tuple(_column_tensor(frame, [tensor.name], tensor) for tensor in model.tensors))
    names, kinds = list(frame.columns), ["any"] * len(frame.columns)
    if model.columns:
        names, kinds = _chosen(names, model)
    return Question((nested_tensor(frame.numbers(names, kinds), torch.float32, "the table"),), table=True)


def _chosen(there: list[Any], model: Mlmodel) -> tuple[list[Any], list[str]]:
    """The table's columns that the signature wants, in its order, and their types."""
    if model.columns[0].name is None:
        if len(there) < len(model.columns):
            raise ValueError(f"the model takes {len(model.columns)} columns; the table has {len(there)}")
        return there[: len(model.columns)], [column.kind for column in model.columns]
    _check_names([str(column.name) for column in model.columns if column.required], there)
    found = [column for column in model.columns if column.name in there]
    return [column.name for column in found], [column.kind for column in found]


def _check_names(wanted: Sequence[str], there: Any) -> None:
    if missing := [name for name in wanted if name not in there]:
        had = ", ".join(safe_repr(name, 40) for name in list(there)[:8]) or "none"
        raise ValueError(f"the model's inputs {', '.join(missing)} are missing; the request has {had}")


def _column_tensor(frame: Frame, names: list[Any], spec: TensorInput) -> torch.Tensor:
    """An input from columns of numbers, or from one whose cells are lists of them."""
    if len(names) != 1:
        cells: list[Any] = list(map(list, zip(*(frame.columns[name] for name in names), strict=True)))
    else:
        cells = list(frame.columns[names[0]])
    if spec.shape[:1] != (-1,) or -1 in spec.shape[1:]:
        raise ValueError(f"a table cannot be the input of shape {list(spec.shape)}; send `inputs`")
    found = _tensor(cells, torch_type(spec))
    flat = found.dim() == 2 or (found.dim() == 1 and spec.shape == (-1, 1))
    if flat and found[:1].numel() == np.prod(spec.shape[1:], dtype=int):
        found = found.reshape(len(cells), *spec.shape[1:])
    return _fitting(found, spec)


# --- arrays ----------------------------------------------------------------------------------------------


def _of_values(given: Any, model: Mlmodel, floating: torch.dtype) -> Question:
    """What stands under `instances` or `inputs`: an array, inputs by name, or records of those."""
    records = isinstance(given, list) and bool(given) and isinstance(given[0], dict)
    if model.columns:
        return _of_table(_values_table(given, records, model), model)
    if not model.tensors:
        if records or isinstance(given, dict):
            raise ValueError("the model has no signature, so its input has no name: send an array")
        return Question((_untyped(given, floating),))
    names = [tensor.name for tensor in model.tensors]
    if names == [None] and (records or isinstance(given, dict)):
        raise ValueError("the model's input has no name: send an array")
    if len(names) == 1 and not records and not isinstance(given, dict):
        given = {names[0]: given}
    elif records:
        frame = from_records(given)
        given = {name: list(cells) for name, cells in frame.columns.items()}
    elif not isinstance(given, dict):
        raise ValueError(f"the model takes the inputs {', '.join(map(str, names))}: send them by their names")
    _check_names(names, given)  # type: ignore[arg-type]  # None is there: see above
    return Question(tuple(_fitting(_tensor(given[one.name], torch_type(one)), one) for one in model.tensors))


def _values_table(given: Any, records: bool, model: Mlmodel) -> Frame:
    if records:
        return from_records(given)
    if isinstance(given, dict):
        return from_columns(given)
    names = [column.name for column in model.columns]
    if isinstance(given, np.ndarray):
        given = given.tolist()
    return from_rows(names if len(names) == 1 and names[0] is not None else None, _as_list(given))


def _as_list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _untyped(given: Any, floating: torch.dtype) -> torch.Tensor:
    try:
        array = np.asarray(given)
    except ValueError:
        raise ValueError("the array's lists must be nested evenly") from None
    if array.dtype.kind == "f":
        return _tensor(array, floating)
    return nested_tensor(array, DTYPES.get(DATATYPES.get(array.dtype.name, ""), torch.int64), "the input")


def _tensor(given: Any, dtype: torch.dtype) -> torch.Tensor:
    """Nested lists as a tensor; no value is NaN where the type has that."""
    if not dtype.is_floating_point:
        return nested_tensor(given, dtype, "the input")
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        return nested_tensor(given, dtype, "the input")
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("the input must be numbers, nested evenly") from None
    return nested_tensor(array, dtype, "the input")


def _fitting(tensor: torch.Tensor, spec: TensorInput) -> torch.Tensor:
    if tensor.dim() != len(spec.shape) or any(
        wanted not in (-1, length) for wanted, length in zip(spec.shape, tensor.shape, strict=True)
    ):
        name = f" {spec.name}" if spec.name else ""
        raise ValueError(f"the input{name} has the shape {list(tensor.shape)}, not {list(spec.shape)}")
    return tensor


# --- parameters ------------------------------------------------------------------------------------------

#: Type of a parameter -> the types of JSON values that it takes, and what they become.
_PARAM_TYPES: dict[str, tuple[tuple[type, ...], type]] = {
    "boolean": ((bool,), bool),
    "integer": ((int,), int),
    "long": ((int,), int),
    "float": ((int, float), float),
    "double": ((int, float), float),
    "string": ((str,), str),
}


def _params(given: Any, known: Sequence[ScoringParam]) -> dict[str, Any]:
    """The values of the signature's parameters; what the signature does not know is passed over.

    Raises:
        ValueError: one is not of its type.
    """
    if not known or given is None:
        return {one.name: one.default for one in known}
    if not isinstance(given, dict):
        raise ValueError("params must be an object")
    return {one.name: _param(given[one.name], one) if one.name in given else one.default for one in known}


def _param(value: Any, spec: ScoringParam) -> Any:
    if value is None:
        return None
    if spec.many:
        if not isinstance(value, list):
            raise ValueError(f"the parameter {spec.name} must be an array")
        return [_scalar(one, spec) for one in value]
    return _scalar(value, spec)


def _scalar(value: Any, spec: ScoringParam) -> Any:
    taken, made = _PARAM_TYPES.get(spec.kind, ((), str))
    if type(value) not in taken:
        raise ValueError(f"the parameter {spec.name} must be of type {spec.kind}")
    return made(value)
