"""The built-in detector, on a model with the output of torchvision's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from torchkeeper.testing import Request, run_handler
from torchkeeper.wire.messages import Failure, Kind, Reply

MODEL = {"modelFile": "net.py", "serializedFile": "net.pth"}

#: Finds what depends on the picture: boxes of its size, a sure thing, a borderline one and a doubtful one.
DETECTOR = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, images):
        assert images.shape[1] == 3
        found = []
        for image in images:
            _, height, width = image.shape
            box = torch.tensor([0.0, 1.0, width, height])
            scores = torch.stack([image[0].mean(), self.level, self.level / 2])
            found.append({"boxes": torch.stack([box, box + 1, box]), "labels": torch.tensor([3, 1, 2]),
                          "scores": scores, "masks": torch.zeros(3, 1, height, width)})
        return found
"""


def picture(red: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, (red, 0, 0)).convert(mode).save(target, "png")
    return target.getvalue()


def asked(folder: Path, requests: list[Request], handler: str = "object_detector", **more: Any) -> list[Any]:
    return run_handler(handler, requests, model=MODEL, model_dir=folder, **more)


def things(answer: Any) -> list[dict[str, Any]]:
    assert isinstance(answer, Reply), answer
    found: list[dict[str, Any]] = json.loads(answer.body)
    return found


def test_things_above_the_threshold_are_named_with_box_and_score(net_dir: Callable[[str], Path]) -> None:
    folder = net_dir(DETECTOR)
    names = {str(number): f"thing {number}" for number in range(1, 4)}
    (folder / "index_to_name.json").write_text(json.dumps(names))
    sure, doubtful = asked(folder, [picture(255), picture(51)])
    border = {"thing 1": [1.0, 2.0, 7.0, 5.0], "score": 0.5}
    assert things(sure) == [{"thing 3": [0.0, 1.0, 6.0, 4.0], "score": 1.0}, border]
    assert things(doubtful) == [border]


def test_without_names_things_are_numbered_and_their_lack_is_a_warning(
    net_dir: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = asked(net_dir(DETECTOR), [picture(0)])
    assert things(answer) == [{"1": [1.0, 2.0, 7.0, 5.0], "score": 0.5}]
    assert "Inference output will not include class name" in caplog.text


def test_nothing_found_is_an_empty_list(net_dir: Callable[[str], Path]) -> None:
    folder = net_dir(DETECTOR)
    (folder / "strict.py").write_text(
        "from ts.torch_handler.object_detector import ObjectDetector\n\n"
        "class Strict(ObjectDetector):\n    threshold = 0.9\n"
    )
    sure, nothing = asked(folder, [picture(255), picture(0)], str(folder / "strict.py"))
    assert [len(things(sure)), things(nothing)] == [1, []]


def test_pictures_of_any_size_and_mode_share_a_batch_and_bad_ones_fail_alone(
    net_dir: Callable[[str], Path],
) -> None:
    folder = net_dir(DETECTOR)
    requests: list[Request] = [
        picture(255),
        b"no picture",
        picture(255, (9, 5)),
        picture(255, mode="RGBA"),
        picture(255, mode="P"),
    ]
    answers = asked(folder, requests)
    assert isinstance(answers[1], Failure)
    boxes = [things(answer)[0]["3"] for answer in answers if isinstance(answer, Reply)]
    assert boxes == [[0, 1, 6, 4], [0, 1, 9, 5], [0, 1, 6, 4], [0, 1, 6, 4]]


def test_a_detector_is_not_explained(net_dir: Callable[[str], Path]) -> None:
    (answer,) = asked(net_dir(DETECTOR), [picture(1)], kind=Kind.EXPLAIN)
    assert isinstance(answer, Failure)
    assert answer.status == 501
    assert "need a model whose output is one tensor (N, classes): list" in answer.message
