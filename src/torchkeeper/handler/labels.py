"""Class names for class numbers: reads index_to_name.json and labels a classifier's output.

Must not import torch; works on plain lists. Source: TorchServe's `ts.utils.util`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_OLD_FORM = "object_type_names"


def names_classes(step: F) -> F:
    """Decorator for a `postprocess` that names classes: without index_to_name.json there is a warning."""
    step.names_classes = True  # type: ignore[attr-defined]  # functions take attributes
    return step


def handler_mapping(model_dir: str, postprocess: Callable[..., Any]) -> dict[str, str] | None:
    """The mapping of an archive's index_to_name.json; its absence is worth a warning if classes are named.

    Raises:
        ValueError: as `load_label_mapping`.
    """
    path = Path(model_dir) / "index_to_name.json"
    wanted = getattr(postprocess, "names_classes", False)
    return load_label_mapping(path) if wanted or path.is_file() else None


def load_label_mapping(mapping_file_path: str | Path) -> dict[str, str] | None:
    """Class index (as text) -> name, from a JSON file.

    Three forms are read: {"0": "cat"}, {"0": ["n0212", "cat"]} (the last element is the name) and
    {"object_type_names": ["cat", "dog"]}.

    Returns:
        None, with a warning in the log, when there is no such file.

    Raises:
        ValueError: the file is no JSON object of names.
    """
    path = Path(mapping_file_path)
    if not path.is_file():
        logger.warning("%r is missing. Inference output will not include class name.", str(mapping_file_path))
        return None
    mapping = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(mapping, dict):
        raise ValueError(f'{path}: the index to name mapping must be an object such as {{"0": "label"}}')
    if isinstance(mapping.get(_OLD_FORM), list):
        mapping = {str(index): name for index, name in enumerate(mapping[_OLD_FORM])}
    return {index: _name(path, index, value) for index, value in mapping.items()}


def _name(path: Path, index: str, value: Any) -> str:
    name = value[-1] if isinstance(value, list) and value else value
    if not isinstance(name, str):
        raise ValueError(f"{path}: the name of class {index} must be text or a list of texts, not {value!r}")
    return name


def map_class_to_label(
    probs: list[Sequence[float]],
    mapping: Mapping[str, str] | None = None,
    lbl_classes: Sequence[Sequence[int]] | None = None,
) -> list[dict[str, float]]:
    """One {label: probability} per row.

    Args:
        probs: rows of probabilities (or scores, or boxes), nested lists.
        mapping: class index as text -> name; without it the index itself is the label.
        lbl_classes: the class index of each value; without it a value's place is its class.

    Raises:
        TypeError: `probs` is no list, or `mapping` no dict.
        KeyError: a class that the mapping does not name.
    """
    if not isinstance(probs, list):
        raise TypeError(
            f"map_class_to_label needs nested lists (tensor.tolist()), not {type(probs).__name__}"
        )
    if mapping is not None and not isinstance(mapping, dict):
        raise TypeError(f"the class mapping must be a dict, not {type(mapping).__name__}")
    labelled = []
    for place, row in enumerate(probs):
        classes = range(len(row)) if lbl_classes is None else lbl_classes[place]
        names = (str(index) if mapping is None else mapping[str(index)] for index in classes)
        try:
            labelled.append(dict(zip(names, row, strict=False)))
        except KeyError as error:
            raise KeyError(f"the class mapping (index_to_name.json) names no class {error.args[0]}") from None
    return labelled
