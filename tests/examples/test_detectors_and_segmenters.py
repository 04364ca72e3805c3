"""TorchServe's examples that say where things are, in real workers: boxes, counts, pixels and masks."""

from __future__ import annotations

import base64
import json
import pickle
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from archives import HANDLERS, archived, imported
from drawn import at_once, imagenet, png, unscaled

from servers import Server

THINGS = {"0": "__background__", "1": "person", "2": "bicycle", "3": "car"}
BATCH = "batchSize: 4\nmaxBatchDelay: 500\n"
MASKS = """
responseTimeout: 300
handler:
    profile: true
    model_type: "bright"
    checkpoint: "bright.pth"
    process_batch_size: 8
"""

pytestmark = pytest.mark.slow


class Models:
    """The models of the archives, as they are without a server."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(9)
        imported("small_detectors.py")
        self.detectors = {
            "fastrcnn": imported("faster_rcnn_model.py").ObjectDetector(),
            "maskrcnn": imported("mask_rcnn_model.py").MaskObjectDetector(),
        }
        imported("small_segmenters.py")
        imported("layer_getter.py")
        self.segmenters = {
            "fcn": self._with_heads("fcn").FCNImageSegmenter(),
            "deeplab": self._with_heads("deeplab").DeepLabV3ImageSegmenter(),
        }
        for model in self.detectors.values():  # each colour is a thing, the more the brighter it is
            model.backbone.weight.data = torch.eye(4, 3) * 8
            model.backbone.bias.data = torch.tensor([-4.0, -4, -4, 0])
            model.box_predictor.weight.data = torch.eye(4).roll(1, 0) * torch.tensor([[0.0], [3], [2], [1]])
            model.box_predictor.bias.data.zero_()
        for model in self.segmenters.values():
            for parameter in model.parameters():
                parameter.data *= 3  # so that pictures differ clearly
        for name, model in (self.detectors | self.segmenters).items():
            torch.save(model.state_dict(), folder / f"{name}.pth")
            model.eval()
        torch.save({"levels": torch.tensor([0.4, 0.6])}, folder / "yolo.pt")
        self.yolo = imported("small_yolo.py").YOLO(folder / "yolo.pt")
        torch.save({"level": torch.tensor(100)}, folder / "bright.pth")

    @staticmethod
    def _with_heads(folder: str) -> ModuleType:
        """A folder's model.py, whose sibling has the name that the other folder's has too."""
        imported(f"{folder}/heads.py")
        try:
            return imported(f"{folder}/model.py")
        finally:
            del sys.modules["heads"], sys.modules["model"]

    @torch.no_grad()
    def boxes(self, name: str, picture: bytes) -> Any:
        """What a detector finds, as the built-in handler answers it."""
        (found,) = self.detectors[name](unscaled(picture)[None])
        rows = zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
        return [
            {THINGS[str(label)]: pytest.approx(box), "score": pytest.approx(score, abs=1e-5)}
            for box, label, score in rows
            if score >= 0.5
        ]

    @torch.no_grad()
    def pixels(self, name: str, picture: bytes) -> torch.Tensor:
        """The class and probability of each pixel."""
        best = self.segmenters[name](imagenet(picture)[None])["out"][0].softmax(0).max(0)
        return torch.stack([best.indices.float(), best.values], dim=2)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Models]]:
    folder = tmp_path_factory.mktemp("detectors_and_segmenters")
    store = folder / "model_store"
    store.mkdir()
    models = Models(folder)
    index = folder / "index_to_name.json"
    index.write_text(json.dumps(THINGS))
    for name, file in (("fastrcnn", "faster_rcnn_model.py"), ("maskrcnn", "mask_rcnn_model.py")):
        files = ("--model-file", HANDLERS / file, "--serialized-file", folder / f"{name}.pth")
        extra = (index, HANDLERS / "small_detectors.py")
        archived(
            store, name, "object_detector", *files, extra=extra, config="batchSize: 4\nmaxBatchDelay: 500\n"
        )
    for name in ("fcn", "deeplab"):
        files = ("--model-file", HANDLERS / name / "model.py", "--serialized-file", folder / f"{name}.pth")
        shared = [HANDLERS / file for file in ("small_segmenters.py", "layer_getter.py")]
        archived(store, name, "image_segmenter", *files, extra=(HANDLERS / name / "heads.py", *shared))
    whole = ("--serialized-file", folder / "yolo.pt")
    archived(store, "yolo", "yolo_handler.py", *whole, extra=[HANDLERS / "small_yolo.py"])
    archived(store, "masks", "masks_handler.py", "--archive-format", "no-archive", config=MASKS)
    (folder / "bright.pth").rename(store / "masks" / "bright.pth")
    names = ("fastrcnn", "maskrcnn", "fcn", "deeplab")
    flags = ("--disable-token-auth", "--enable-model-api")
    settings = {"default_workers_per_model": 1}
    server = Server(folder, (*(f"{name}={name}.mar" for name in names), "masks"), settings, flags)
    yield server, models
    server.stop()


@pytest.mark.parametrize("name", ["fastrcnn", "maskrcnn"])
def test_boxes_with_names_and_scores(served: tuple[Server, Models], name: str) -> None:
    """object_detector/fast-rcnn and maskrcnn: pictures of several sizes at once, one of them none."""
    server, models = served
    pictures = [png(1), png(2, (80, 40)), png(3)]
    answers = at_once(server, f"/predictions/{name}", [*pictures, b"no picture"])
    assert answers.pop().status_code == 503
    expected = [models.boxes(name, picture) for picture in pictures]
    assert [answer.json() for answer in answers] == expected
    assert len({len(boxes) for boxes in expected}) > 1, "the threshold should show"


def test_counts_by_a_model_of_another_package(served: tuple[Server, Models]) -> None:
    """object_detector/yolo/yolov8: registered with workers and a batch, its own processing and loading."""
    server, models = served
    asked = {"model_name": "yolov8n", "url": "yolo.mar", "initial_workers": "2", "batch_size": "2"}
    begun = server.manage.post("/models", params=asked)
    assert begun.json() == {"status": 'Model "yolov8n" Version: 1.0 registered with 2 initial workers'}
    pictures = [png(seed) for seed in range(4, 8)]
    for answer, picture in zip(at_once(server, "/predictions/yolov8n", pictures), pictures, strict=True):
        (found,) = models.yolo(unscaled(picture)[None])
        assert answer.json() == Counter(found.names[int(number)] for number in found.boxes.cls)


@pytest.mark.parametrize("name", ["fcn", "deeplab"])
def test_classes_of_pixels(served: tuple[Server, Models], name: str) -> None:
    """image_segmenter/fcn and deeplabv3: [class, probability] of 224 x 224 pixels; siblings of one name."""
    server, models = served
    for seed in (8, 9):
        answer = server.client.put(f"/predictions/{name}", content=png(seed))
        expected = models.pixels(name, png(seed))
        assert expected.shape == (224, 224, 2)
        torch.testing.assert_close(torch.tensor(answer.json()), expected, atol=1e-4, rtol=1e-4)
        assert len(expected[..., 0].unique()) > 1


def test_masks_from_a_folder_in_the_store(served: tuple[Server, Models]) -> None:
    """large_models/segment_anything_fast: no archive, weights beside it, settings in model-config.yaml."""
    server, _ = served
    picture = png(10)
    answer = server.client.post("/predictions/masks", files={"body": ("kitten.png", picture)})
    masks = pickle.loads(base64.b64decode(answer.text))
    channels = (unscaled(picture).numpy() * 255).round() > 100
    assert [mask["area"] for mask in masks] == [int(channel.sum()) for channel in channels[::-1]]
    for mask, channel in zip(masks, channels[::-1], strict=True):
        assert np.array_equal(mask["segmentation"], channel)
    server.wait_for(r"\[METRICS\]ts_handler_inference\.Milliseconds:")
