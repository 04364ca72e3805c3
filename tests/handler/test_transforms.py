"""Our transforms equal torchvision's, whose results were recorded (see record_transforms.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from torchkeeper.handler import transforms
from torchkeeper.handler.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

HERE = Path(__file__).parent


def _recorder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record_transforms", HERE / "record_transforms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recorder = _recorder()
RECORDED = json.loads((HERE.parent / "data" / "transforms.json").read_text())["results"]
CASES = [(picture, pipeline) for picture, pipelines in RECORDED.items() for pipeline in pipelines]


def test_every_case_is_recorded() -> None:
    assert {picture: list(pipelines) for picture, pipelines in RECORDED.items()} == recorder.CASES


@pytest.mark.parametrize(("picture", "pipeline"), CASES)
def test_equals_torchvision_bit_for_bit(picture: str, pipeline: str) -> None:
    steps = [getattr(transforms, name)(**given) for name, given in recorder.PIPELINES[pipeline]]
    assert recorder.describe(Compose(steps)(recorder.picture(picture))) == RECORDED[picture][pipeline]


def test_arrays_become_tensors_as_pictures_do() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    torch.testing.assert_close(ToTensor()(array), ToTensor()(Image.fromarray(array)), rtol=0, atol=0)
    assert ToTensor()(np.zeros((2, 4), np.float32)).shape == (1, 2, 4)


def test_the_tensor_is_its_own_memory() -> None:
    picture = Image.new("F", (2, 2), 1.0)
    ToTensor()(picture).fill_(5)
    assert picture.getpixel((0, 0)) == 1.0


def test_normalize_leaves_its_input_alone_unless_in_place() -> None:
    tensor = torch.ones(1, 2, 2)
    Normalize([0.5], [0.5])(tensor)
    assert tensor.eq(1).all()
    Normalize([0.0], [0.5], inplace=True)(tensor)
    assert tensor.eq(2).all()


def test_resize_returns_a_picture_of_the_right_size_as_it_is() -> None:
    picture = Image.new("RGB", (30, 20))
    assert Resize(20)(picture) is picture


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Resize([1, 2, 3]), "size must be one number"),
        (lambda: Resize(20, max_size=20), "max_size=20"),
        (lambda: CenterCrop([1, 2, 3]), "size must be one number"),
        (lambda: Normalize([0.5], [0.0]), "std must not be zero"),
        (lambda: Normalize([0.5], [1.0])(torch.ones(1, 2, 2, dtype=torch.int64)), "put ToTensor before"),
        (lambda: ToTensor()(cast(Any, "picture")), "expected a PIL image"),
        (lambda: ToTensor()(np.zeros(3)), "2 or 3 dimensions"),
    ],
)
def test_wrong_use_is_named(make: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        make()
