"""Class names for class numbers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, cast

import pytest

from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.labels import load_label_mapping, map_class_to_label
from torchkeeper.handler.vision import ImageClassifier
from torchkeeper.testing import MockContext


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"0": "cat"}, {"0": "cat"}),
        ({"0": ["n021", "cat"]}, {"0": "cat"}),
        ({"object_type_names": ["cat", "dog"]}, {"0": "cat", "1": "dog"}),
    ],
)
def test_three_forms_are_read(tmp_path: Path, content: object, expected: dict[str, str]) -> None:
    (tmp_path / "names.json").write_text(json.dumps(content))
    assert load_label_mapping(tmp_path / "names.json") == expected


@pytest.mark.parametrize(("content", "text"), [([1], "must be an object"), ({"0": 5}, "name of class 0")])
def test_other_forms_are_named(tmp_path: Path, content: object, text: str) -> None:
    (tmp_path / "names.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=text):
        load_label_mapping(str(tmp_path / "names.json"))


def test_a_missing_file_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert load_label_mapping(str(tmp_path / "none.json")) is None
    assert "none.json' is missing. Inference output will not include class name." in caplog.text


@pytest.mark.parametrize(
    ("handler", "warned"), [("ImageClassifier", True), ("Own", False), ("BaseHandler", False)]
)
def test_only_a_handler_that_names_classes_misses_their_names(
    model_dir: Path, caplog: pytest.LogCaptureFixture, handler: str, warned: bool
) -> None:
    classes: dict[str, type[BaseHandler]] = {
        "ImageClassifier": ImageClassifier,
        "BaseHandler": BaseHandler,
        "Own": type("Own", (ImageClassifier,), {"postprocess": lambda self, data: data.tolist()}),
    }
    classes[handler]().initialize(MockContext("net.pth", model_dir, "net.py"))
    assert ("Inference output will not include class name" in caplog.text) is warned
    (model_dir / "index_to_name.json").write_text('{"0": "cat"}')
    made = classes[handler]()
    made.initialize(MockContext("net.pth", model_dir, "net.py"))
    assert made.mapping == {"0": "cat"}


def test_labels() -> None:
    assert map_class_to_label([[0.9, 0.1]]) == [{"0": 0.9, "1": 0.1}]
    assert map_class_to_label([[0.9, 0.1]], {"3": "x", "5": "y"}, [[5, 3]]) == [{"y": 0.9, "x": 0.1}]
    assert map_class_to_label([]) == []
    with pytest.raises(KeyError, match=r"\(index_to_name.json\) names no class 7"):
        map_class_to_label([[0.9, 0.1]], {"0": "x"}, [[0, 7]])
    with pytest.raises(TypeError, match="nested lists"):
        map_class_to_label(cast(Any, (1, 2)))
    with pytest.raises(TypeError, match="must be a dict"):
        map_class_to_label([[1.0]], cast(Any, ["x"]))
