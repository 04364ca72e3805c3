"""Models without source on a real server: archived with a file and a name, asked by REST and gRPC."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from rpc_client import Client  # type: ignore[import-not-found]  # likewise

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    BIN,
    Server,
    eventually,
)
from exports import Pixels, Rows, packaged, pixels_program, rows_program, saved
from torchkeeper.handler.transforms import Normalize, ToTensor
from torchkeeper.rpc.schema import OPEN_INFERENCE

pytestmark = pytest.mark.slow

#: For grey pictures of 8 x 8, in an archive with a handler file.
HANDLER = """
from ts.torch_handler.image_classifier import ImageClassifier
from torchkeeper.handler.transforms import ToTensor

class Small(ImageClassifier):
    image_processing = ToTensor()
    topk = 4
"""


class Colours(torch.nn.Module):
    """Three classes for pictures as ImageNet's networks take them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pt2")
    store = folder / "model_store"
    store.mkdir()
    (folder / "small.py").write_text(HANDLER)
    (folder / "model-config.yaml").write_text("batchSize: 16\nmaxBatchDelay: 50\nmaxWorkers: 1\n")
    colours = torch.export.export(
        Colours(),
        (torch.zeros(2, 3, 224, 224),),
        dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1, max=4)}},
    )
    models = {
        "rows": (saved(rows_program(1, 8), folder / "rows.pt2"), "tensors"),
        "compiled": (packaged(rows_program(1, 8), folder / "compiled.pt2"), "tensors"),
        "colours": (saved(colours, folder / "colours.pt2"), "image_classifier"),
        "small": (saved(pixels_program(4), folder / "small.pt2"), folder / "small.py"),
    }
    for name, (file, handler) in models.items():
        subprocess.run(
            [
                BIN / "torch-model-archiver",
                *("--model-name", name, "--version", "1.0", "--export-path", store, "--handler", handler),
                *("--serialized-file", file, "-c", folder / "model-config.yaml"),
            ],
            check=True,
        )
    running = Server(folder, tuple(f"{name}={name}.mar" for name in models), {})
    for name in models:
        eventually(lambda name=name: running.manage.get(f"/v1/models/{name}").json()["ready"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def rpc(server: Server) -> Iterator[Client]:
    made = Client(server.grpc)
    yield made
    made.channel.close()


def picture(seed: int) -> tuple[Image.Image, bytes]:
    image = Image.fromarray(np.random.RandomState(seed).randint(0, 256, (8, 8), dtype=np.uint8))
    target = io.BytesIO()
    image.save(target, "png")
    return image, target.getvalue()


@pytest.mark.parametrize(("name", "given"), [("rows", "x"), ("compiled", "input0")])
def test_named_tensors_in_named_tensors_out_by_rest(server: Server, name: str, given: str) -> None:
    def ask(x: np.ndarray) -> np.ndarray:
        tensor = {"name": given, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        reply = server.client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
        assert reply.status_code == 200, reply.text
        (output,) = reply.json()["outputs"]
        assert (output["name"], output["datatype"]) == ("output0", "FP32")
        return np.reshape(output["data"], output["shape"])

    batches = [np.random.RandomState(count).randn(count, 4) for count in (1, 2, 3, 8, 9, 30)]
    with ThreadPoolExecutor(6) as pool:
        for x, found in zip(batches, pool.map(ask, batches), strict=True):
            expected = Rows()(torch.from_numpy(x).float()).detach().numpy()
            np.testing.assert_allclose(found, expected, 1e-4, 1e-5)
    tensor = {"name": given, "datatype": "FP32", "shape": [1, 5], "data": [0] * 5}
    reply = server.client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
    assert reply.status_code == 400
    assert "shape [1, 5] is not [1.., 4]" in reply.text


def test_and_by_grpc(rpc: Client) -> None:
    x = np.arange(8, dtype="<f4").reshape(2, 4)
    expected = Rows()(torch.from_numpy(x)).detach().numpy()
    about = {"name": "x", "shape": [2, 4], "datatype": "FP32"}
    typed = rpc[OPEN_INFERENCE, "ModelInfer"](
        model_name="rows", inputs=[{**about, "contents": {"fp32_contents": x.ravel()}}]
    )
    (output,) = typed.outputs
    assert (output.name, list(output.shape)) == ("output0", [2, 3])
    np.testing.assert_allclose(output.contents.fp32_contents, expected.ravel(), 1e-4, 1e-5)
    raw = rpc[OPEN_INFERENCE, "ModelInfer"](
        model_name="rows", inputs=[about], raw_input_contents=[x.tobytes()]
    )
    found = np.frombuffer(raw.raw_output_contents[0], "<f4")
    np.testing.assert_allclose(found, expected.ravel(), 1e-4, 1e-5)


def test_what_the_model_takes_is_told_in_each_protocol(server: Server, rpc: Client) -> None:
    given = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    made = {"name": "output0", "datatype": "FP32", "shape": [-1, 3]}
    told = server.client.get("/v2/models/rows").json()
    assert (told["inputs"], told["outputs"]) == ([given], [made])
    described = server.manage.get("/models/rows").json()[0]
    assert (described["inputs"], described["outputs"]) == ([given], [made])
    metadata = rpc[OPEN_INFERENCE, "ModelMetadata"](name="rows")
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [("x", "FP32", [-1, 4])]
    assert server.client.get("/v2/models/compiled").json()["inputs"] == [given | {"name": "input0"}]
    assert [one["shape"] for one in server.client.get("/v2/models/colours").json()["inputs"]] == [
        [-1, 3, 224, 224]
    ]


def test_pictures_are_classified_in_batches_beyond_the_bound(server: Server) -> None:
    def ask(seed: int) -> dict[str, float]:
        reply = server.client.post("/predictions/small", content=picture(seed)[1])
        assert reply.status_code == 200, reply.text
        found: dict[str, float] = reply.json()
        return found

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(24)))
    for seed, answer in enumerate(answers):
        expected = Pixels()(ToTensor()(picture(seed)[0])[None]).softmax(1)[0].detach()
        for label, probability in answer.items():
            assert probability == pytest.approx(float(expected[int(label)]), rel=1e-3)


def test_the_built_in_image_classifier_needs_a_file_alone(server: Server) -> None:
    image = Image.new("RGB", (300, 300), (250, 120, 10))
    target = io.BytesIO()
    image.save(target, "png")
    answer = server.client.post("/predictions/colours", content=target.getvalue()).json()
    normal = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    expected = normal(ToTensor()(image)).mean((1, 2)).softmax(0)
    assert answer == {str(at): pytest.approx(float(expected[at]), rel=1e-3) for at in range(3)}
