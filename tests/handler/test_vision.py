"""VisionHandler and ImageClassifier: every way a picture may arrive, and the answers' form."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from safetensors.torch import save_file

from torchkeeper.handler.errors import PredictionException, UnreadableRows
from torchkeeper.handler.transforms import Compose, Normalize, ToTensor
from torchkeeper.handler.vision import ImageClassifier, VisionHandler
from torchkeeper.testing import MockContext, Request, run_handler
from torchkeeper.wire.messages import Failure, Reply

MODEL = {"modelFile": "net.py", "serializedFile": "net.pth"}


class Digits(VisionHandler):
    image_processing = ToTensor()


def test_a_picture_may_arrive_in_every_form(context: MockContext, png: Callable[[int], bytes]) -> None:
    handler = Digits()
    handler.initialize(context)
    picture = png(1)
    text = base64.b64encode(picture).decode()
    rows: list[Any] = [
        {"data": picture},
        {"body": bytearray(picture)},
        {"data": text},
        {"body": {"data": text, "target": 1}},
        picture,
        text,
    ]
    batch = handler.preprocess(rows)
    assert batch.shape == (len(rows), 1, 8, 8)
    assert batch.dtype is torch.float32
    assert (batch == batch[0]).all()
    assert handler.preprocess([{"data": batch[0].tolist()}]).equal(batch[:1])


def test_image_processing_may_be_a_method_or_a_static_method(
    context: MockContext, png: Callable[[int], bytes]
) -> None:
    class Method(VisionHandler):
        scale = 2.0

        def image_processing(self, image: Any) -> Any:
            return ToTensor()(image) * self.scale

    class Static(VisionHandler):
        image_processing = staticmethod(lambda image: ToTensor()(image))

    batches = []
    for handler in (Method(), Static()):
        handler.initialize(context)
        batches.append(handler.preprocess([png(2)]))
    assert batches[0].equal(batches[1] * 2)


def test_what_is_no_picture_is_named(context: MockContext) -> None:
    handler = Digits()
    handler.initialize(context)
    with pytest.raises(ValueError, match=r"request 0 of the batch: no picture .*\(3 bytes\)"):
        handler.preprocess([{"body": b"abc"}])


def test_the_pixel_limit_is_lifted_if_the_server_says_so(
    context: MockContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Digits().initialize(context)
    assert Image.MAX_IMAGE_PIXELS == 1000
    context.system_properties["limit_max_image_pixels"] = False
    Digits().initialize(context)
    assert Image.MAX_IMAGE_PIXELS is None


def test_the_classifier_looks_at_224_pixels_in_imagenet_values() -> None:
    tensor = ImageClassifier.image_processing(Image.new("RGB", (500, 300), (124, 116, 104)))
    assert tensor.shape == (3, 224, 224)
    assert tensor.abs().max() < 0.01


def test_topk_can_be_set(context: MockContext) -> None:
    handler = ImageClassifier()
    assert handler.get_max_result_classes() == 5
    handler.set_max_result_classes(2)
    answers = handler.postprocess(torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 1.0]]))
    assert [list(answer) for answer in answers] == [["1", "2"], ["0", "2"]]
    handler.set_max_result_classes(9)
    assert sum(handler.postprocess(torch.zeros(1, 3))[0].values()) == pytest.approx(1)


def test_a_handler_file_in_torchserves_style_labels_its_answers(
    model_dir: Path, png: Callable[[int], bytes]
) -> None:
    (model_dir / "index_to_name.json").write_text(json.dumps({str(i): f"class {i}" for i in range(4)}))
    requests: list[Request] = [png(1), {"data": png(2)}]
    answers = run_handler(model_dir / "handler.py", requests, model=MODEL)
    for answer in answers:
        assert isinstance(answer, Reply)
        assert answer.content_type == "application/json"
        labels = json.loads(answer.body)
        assert len(labels) == 2
        assert all(label.startswith("class ") for label in labels)


def test_body_envelope_takes_raw_pictures_and_json(model_dir: Path, png: Callable[[int], bytes]) -> None:
    text = json.dumps({"data": base64.b64encode(png(1)).decode(), "target": 2})
    requests: list[Request] = [png(1), {"body": (text, "application/json")}]
    one, other = run_handler(model_dir / "handler.py", requests, model=MODEL, envelope="body")
    assert isinstance(one, Reply)
    assert one == other


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (b"abc", "no picture that Pillow can read (3 bytes)"),
        ({"data": ("a", "text/plain")}, "Invalid base64-encoded string"),
        ({"other": b"x"}, "a request needs a parameter 'data' or a body"),
    ],
)
def test_a_bad_picture_fails_alone_with_its_cause(
    model_dir: Path, png: Callable[[int], bytes], bad: Request, cause: str
) -> None:
    first, answer, last = run_handler(model_dir / "handler.py", [png(1), bad, png(2)], model=MODEL)
    assert isinstance(answer, Failure)
    assert (answer.status, answer.message) == (503, "Prediction failed")
    assert cause in str(answer.cause)
    assert [first, last] == run_handler(model_dir / "handler.py", [png(1), png(2)], model=MODEL)
    (alone,) = run_handler(model_dir / "handler.py", [bad], model=MODEL)
    assert alone == answer


def test_half_a_picture_fails_alone(model_dir: Path, png: Callable[[int], bytes]) -> None:
    half = png(1)[: len(png(1)) * 2 // 3]
    answer, other = run_handler(model_dir / "handler.py", [half, png(1)], model=MODEL)
    assert isinstance(answer, Failure)
    assert isinstance(other, Reply)


PICTURES = """
from torchkeeper.handler.errors import UnreadableRows
from torchkeeper.handler.transforms import ToTensor
from torchkeeper.handler.vision import VisionHandler

class Counting(VisionHandler):
    image_processing = ToTensor()

    def preprocess(self, data):
        with open("calls", "a") as calls:
            print(len(data), file=calls)
        return super().preprocess(data)
"""


def test_pictures_that_cannot_be_read_cost_one_more_pass(
    model_dir: Path, png: Callable[[int], bytes]
) -> None:
    (model_dir / "pictures.py").write_text(PICTURES)
    requests: list[Any] = [png(1), b"no picture"] * 32
    model = {"modelFile": "net.py", "serializedFile": "net.pth"}
    outcomes = run_handler(model_dir / "pictures.py", requests, model=model)
    good, bad = outcomes[::2], outcomes[1::2]
    assert all(isinstance(outcome, Reply) for outcome in good)
    assert bad == [Failure(503, "Prediction failed", "no picture that Pillow can read (10 bytes)")] * 32
    assert (model_dir / "calls").read_text().split() == ["64", "32"]


@pytest.mark.parametrize("data", [[{}], [[1], [2, 3]], [[None]], "no base64", {"a": 1}, [10**400]])
def test_numbers_that_are_none_fail_alone(model_dir: Path, png: Callable[[int], bytes], data: object) -> None:
    bad = {"body": (json.dumps({"data": data}), "application/json")}
    answer, other = run_handler(model_dir / "handler.py", [bad, png(1)], model=MODEL)
    assert isinstance(answer, Failure)
    assert isinstance(other, Reply)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp", "avif", "dds"])
def test_whatever_pillow_says_of_a_broken_picture_is_its_rows(context: MockContext, kind: str) -> None:
    """Its decoders raise SyntaxError, NotImplementedError and others besides OSError."""
    handler = Digits()
    handler.initialize(context)
    target = io.BytesIO()
    Image.effect_noise((16, 16), 50).convert("RGB").save(target, kind)
    whole = target.getvalue()
    for place, value in itertools.product(range(200), (0, 9, 255)):
        with contextlib.suppress(UnreadableRows):
            handler.preprocess([whole[:place] + bytes([value]) + whole[place + 1 :]])


COLOURS = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(3, 6)

    def forward(self, x):
        return self.last(x.mean((2, 3)))
"""
FORMS = ["RGB", "RGBA", "P", "CMYK"]


def sent_as(mode: str) -> bytes:
    """One picture of 16 colours, in a file of that mode."""
    pixels = np.random.RandomState(3).randint(0, 256, (4, 4, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    picture = Image.fromarray(pixels)
    picture = picture.quantize(16, dither=Image.Dither.NONE) if mode == "P" else picture.convert(mode)
    target = io.BytesIO()
    picture.save(target, "tiff" if mode == "CMYK" else "png")
    return target.getvalue()


@pytest.fixture
def colours(net_dir: Callable[[str], Path]) -> Path:
    """A folder with a model of three channels."""
    return net_dir(COLOURS)


def labels(outcome: Any) -> dict[str, float]:
    assert isinstance(outcome, Reply), outcome
    found: dict[str, float] = json.loads(outcome.body)
    return found


def test_the_built_in_classifier_sees_the_same_picture_in_every_form(colours: Path) -> None:
    answers = run_handler(
        "image_classifier", [sent_as(mode) for mode in FORMS], model=MODEL, model_dir=colours
    )
    first, *others = [labels(answer) for answer in answers]
    for other in others:
        assert list(other) == list(first)
        assert list(other.values()) == pytest.approx(list(first.values()))


OWN_TRANSFORM = """
from torchkeeper.handler.transforms import Compose, Normalize, ToTensor
from ts.torch_handler.image_classifier import ImageClassifier


class Own(ImageClassifier):
    image_processing = Compose([ToTensor(), Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])])
"""


def test_a_transform_for_three_channels_is_given_the_rgb_picture_where_it_cannot_take_another(
    colours: Path,
) -> None:
    (colours / "own.py").write_text(OWN_TRANSFORM)
    answers = run_handler(colours / "own.py", [sent_as(mode) for mode in FORMS], model=MODEL)
    first, *others = [labels(answer) for answer in answers]
    for other in others:
        assert list(other) == list(first)
        assert list(other.values()) == pytest.approx(list(first.values()))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "1", "LA"])
def test_a_handlers_own_transform_gets_the_picture_as_it_was_sent(context: MockContext, mode: str) -> None:
    seen: list[tuple[str, bytes]] = []

    class Own(ImageClassifier):
        def image_processing(self, image: Any) -> Any:  # type: ignore[override]
            seen.append((image.mode, image.tobytes()))
            return ToTensor()(image)

    handler = Own()
    handler.initialize(context)
    pixels = Image.fromarray(np.random.RandomState(5).randint(0, 256, (8, 8), dtype=np.uint8))
    if mode == "I;16":
        pixels = Image.fromarray(np.asarray(pixels).astype(np.uint16) * 200)
    picture = pixels if pixels.mode == mode else pixels.convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    target = io.BytesIO()
    picture.save(target, "png", exif=exif)
    batch = handler.preprocess([target.getvalue()])
    assert seen == [(mode, picture.tobytes())]
    assert batch[0].equal(ToTensor()(picture))


def test_a_picture_that_a_handler_refuses_is_not_tried_in_another_form(context: MockContext) -> None:
    class Strict(VisionHandler):
        def image_processing(self, image: Any) -> Any:  # type: ignore[override]
            if image.mode != "RGB":
                raise PredictionException(f"{image.mode} is not RGB", 415)
            return ToTensor()(image)

    handler = Strict()
    handler.initialize(context)
    assert handler.preprocess([sent_as("RGB")]).shape == (1, 3, 16, 16)
    with pytest.raises(UnreadableRows, match="P is not RGB : 415"):
        handler.preprocess([sent_as("P")])


def test_a_digit_of_16_bits_is_seen_by_a_transform_for_one_channel(
    context: MockContext, png: Callable[[int], bytes]
) -> None:
    class Own(VisionHandler):
        image_processing = Compose([ToTensor(), Normalize([0.1307], [0.3081])])

    handler = Own()
    handler.initialize(context)
    target = io.BytesIO()
    Image.fromarray(np.asarray(Image.open(io.BytesIO(png(1)))).astype(np.uint16) * 257).save(target, "png")
    assert handler.preprocess([target.getvalue()]).equal(handler.preprocess([png(1)]))


PICKY = """
from torchkeeper.handler.transforms import ToTensor
from ts.torch_handler.image_classifier import ImageClassifier
from ts.utils.util import PredictionException


class Picky(ImageClassifier):
    @staticmethod
    def image_processing(image):
        if image.width == 9:
            raise PredictionException("nine pixels are not enough", 422)
        if image.width == 10:
            return image.no_such_thing
        if image.width == 11:
            raise ValueError("eleven is odd")
        return ToTensor()(image)
"""


def wide(width: int) -> bytes:
    target = io.BytesIO()
    Image.new("L", (width, 8)).save(target, "png")
    return target.getvalue()


@pytest.mark.parametrize("envelope", [None, "kserve"])
def test_what_a_transform_raises_is_its_pictures_own(
    model_dir: Path, capfd: pytest.CaptureFixture[str], envelope: str | None
) -> None:
    (model_dir / "picky.py").write_text(PICKY)
    requests: list[Request] = []
    for width in (8, 9, 10, 11, 8):
        text = json.dumps({"instances": [{"data": base64.b64encode(wide(width)).decode()}]})
        requests.append({"body": (text, "application/json")} if envelope else wide(width))
    first, refused, broken, odd, last = run_handler(
        model_dir / "picky.py", requests, model=MODEL, envelope=envelope
    )
    assert isinstance(first, Reply)
    assert first == last
    assert isinstance(refused, Failure)
    assert (refused.status, refused.message) == (422, "nine pixels are not enough")
    assert isinstance(broken, Failure)
    assert (broken.status, broken.message) == (503, "Prediction failed")
    assert "no_such_thing" in str(broken.cause)
    assert isinstance(odd, Failure)
    assert "return image.no_such_thing" in capfd.readouterr().err
    assert "eleven is odd" in f"{odd.message} {odd.cause}"


def seen(outcome: Any) -> Any:
    """An outcome without the last digits of its numbers, which depend on who shares the batch."""
    if isinstance(outcome, Failure):
        return outcome
    return json.loads(outcome.body, parse_float=lambda text: round(float(text), 5))


@pytest.mark.parametrize("envelope", [None, "kserve"])
def test_pictures_of_several_sizes_are_answered_as_each_is_alone(
    model_dir: Path, png: Callable[[int], bytes], envelope: str | None
) -> None:
    pictures = [png(1), wide(12), sent_as("RGB"), png(2), wide(12)]
    requests: list[Request] = []
    for picture in pictures:
        text = json.dumps({"instances": [{"data": base64.b64encode(picture).decode()}]})
        requests.append({"body": (text, "application/json")} if envelope else picture)
    answers = run_handler(model_dir / "handler.py", requests, model=MODEL, envelope=envelope)
    for request, answer in zip(requests, answers, strict=True):
        (alone,) = run_handler(model_dir / "handler.py", [request], model=MODEL, envelope=envelope)
        assert seen(answer) == seen(alone)
    assert [type(answer) for answer in answers] == [Reply, Reply, Failure, Reply, Reply]


def test_instances_of_several_sizes_may_share_a_request(model_dir: Path, png: Callable[[int], bytes]) -> None:
    def asked(*pictures: bytes) -> Request:
        instances = [{"data": base64.b64encode(picture).decode()} for picture in pictures]
        return {"body": (json.dumps({"instances": instances}), "application/json")}

    def predictions(*requests: Request) -> list[Any]:
        answers = run_handler(model_dir / "handler.py", requests, model=MODEL, envelope="kserve")
        return [seen(answer)["predictions"] for answer in answers]

    (alone,), (other,) = predictions(asked(png(1))), predictions(asked(wide(12)))
    together = predictions(asked(png(1), wide(12), png(1)), asked(wide(12)))
    assert together == [[*alone, *other, *alone], other]


def test_image_classifier_takes_weights_as_safetensors(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(COLOURS)
    state = {"last.weight": torch.randn(6, 3), "last.bias": torch.randn(6)}
    torch.save(state, tmp_path / "net.pth")
    save_file(state, tmp_path / "net.safetensors")
    picture = io.BytesIO()
    Image.new("RGB", (30, 20), "teal").save(picture, "PNG")

    def answer(weights: str) -> dict[str, float]:
        model = {"modelFile": "net.py", "serializedFile": weights}
        (reply,) = run_handler("image_classifier", [picture.getvalue()], model=model, model_dir=tmp_path)
        assert isinstance(reply, Reply)
        found: dict[str, float] = json.loads(reply.body)
        return found

    assert len(answer("net.safetensors")) == 5
    assert answer("net.safetensors") == answer("net.pth")
