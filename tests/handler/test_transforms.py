"""Our transforms equal torchvision's, whose results were recorded (see record_transforms.py)."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from torchkeeper.handler import transforms
from torchkeeper.handler.transforms import CenterCrop, Compose, Normalize, Resize, ToRGB, ToTensor

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


def files(picture: Image.Image, kind: str, **given: Any) -> Image.Image:
    """A picture as it comes back from a file."""
    target = io.BytesIO()
    picture.save(target, kind, **given)
    return Image.open(io.BytesIO(target.getvalue()))


COLOURS = recorder.picture("wide")
GREY = recorder.picture("digit")
PALETTE = COLOURS.quantize(16, dither=Image.Dither.NONE)
#: Pictures as they are sent, and the RGB picture that each shows.
SENT: dict[str, tuple[Image.Image, Image.Image]] = {
    "RGB": (files(COLOURS, "png"), COLOURS),
    "RGBA": (files(recorder.picture("alpha"), "png"), recorder.picture("alpha").convert("RGB")),
    "LA": (files(recorder.picture("grey_alpha"), "png"), recorder.picture("grey_alpha").convert("RGB")),
    "palette": (files(PALETTE, "png"), PALETTE.convert("RGB")),
    "clear colour": (files(PALETTE, "png", transparency=3), PALETTE.convert("RGB")),
    "clear colours": (files(PALETTE, "png", transparency=bytes([0, 9, 255])), PALETTE.convert("RGB")),
    "bits": (files(recorder.picture("bits"), "png"), recorder.picture("bits").convert("RGB")),
    "CMYK": (files(recorder.picture("cmyk"), "tiff"), recorder.picture("cmyk").convert("RGB")),
    "animated": (files(PALETTE, "gif", save_all=True, append_images=[GREY]), PALETTE.convert("RGB")),
    **{
        f"16 bit {kind}": (
            files(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257), kind),
            GREY.convert("RGB"),
        )
        for kind in ("png", "tiff")
    },
    "16 bit integers": (Image.fromarray(np.asarray(GREY).astype(np.int32) * 257), GREY.convert("RGB")),
    "big-endian": (
        Image.frombytes("I;16B", GREY.size, (np.asarray(GREY).astype(">u2") * 257).astype(">u2").tobytes()),
        GREY.convert("RGB"),
    ),
}


@pytest.mark.parametrize("name", SENT)
def test_every_picture_has_its_rgb_picture(name: str) -> None:
    sent, shown = SENT[name]
    before = sent.copy()
    found = ToRGB()(sent)
    assert found.mode == "RGB"
    assert found.tobytes() == shown.tobytes()
    assert sent.tobytes() == before.tobytes()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(turn: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    sent = files(COLOURS, "png", exif=exif)
    assert ToRGB()(sent).tobytes() == ImageOps.exif_transpose(sent).tobytes()
    assert (ToRGB()(sent).size == COLOURS.size) == (turn < 5)


def test_broken_exif_data_turns_nothing() -> None:
    sent = files(COLOURS, "png", exif=b"Exif\0\0no tiff at all")
    with pytest.raises(SyntaxError):
        sent.getexif()
    assert ToRGB()(sent).tobytes() == COLOURS.tobytes()


@pytest.mark.parametrize("values", [np.array([[-1]], np.int32), np.array([[1 << 16]], np.int32)])
def test_numbers_that_are_no_brightness_are_no_picture(values: Any) -> None:
    with pytest.raises(ValueError, match="no brightness"):
        ToRGB()(Image.fromarray(values))
    with pytest.raises(ValueError, match="mode F"):
        ToRGB()(Image.new("F", (2, 2), 0.5))


@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 4, 4), (4, 4)])
def test_normalize_wants_a_mean_per_channel_or_one_for_all(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Normalize has 3 means"):
        Normalize([0.5] * 3, [1.0] * 3)(torch.ones(shape))
    assert Normalize([0.5], [1.0])(torch.ones(4, 2, 2)).eq(0.5).all()
