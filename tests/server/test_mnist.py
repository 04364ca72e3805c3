"""The main job on a real server: digits in every form, explanations, a profile, all 10,000 images."""

from __future__ import annotations

import base64
import gzip
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import EXAMPLE, mnist_server  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "mnist"


def network() -> torch.nn.Module:
    sys.path.insert(0, str(EXAMPLE))
    try:
        from mnist import Net
    finally:
        sys.path.remove(str(EXAMPLE))
    model = Net()
    model.load_state_dict(torch.load(EXAMPLE / "mnist_cnn.pt", weights_only=True))
    return model.eval()


def test_ten_digits_in_every_form(tmp_path: Path) -> None:
    server = mnist_server(tmp_path)
    for digit in range(10):
        picture = (EXAMPLE / "test_data" / f"{digit}.png").read_bytes()
        url = "/predictions/mnist"
        assert server.client.put(url, content=picture).text == str(digit)
        assert server.client.post(url, files={"data": ("x.png", picture)}).text == str(digit)
        encoded = {"data": base64.b64encode(picture).decode()}
        assert server.client.post(url, json=encoded).text == str(digit)
    server.stop()


def test_explanations_equal_captum_called_directly(tmp_path: Path) -> None:
    captum = pytest.importorskip("captum.attr")
    server = mnist_server(tmp_path, service_envelope="body")
    picture = (EXAMPLE / "test_data" / "0.png").read_bytes()
    asked = json.loads((EXAMPLE / "mnist_ts.json").read_text())
    assert server.client.put("/predictions/mnist", content=picture).text == "0"
    raw = server.client.put("/explanations/mnist", content=picture).json()
    named = server.client.post("/explanations/mnist_explain", json=asked | {"target": 3}).json()
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(picture)), dtype=np.float32) / 255)
    inputs = ((pixels - 0.1307) / 0.3081).reshape(1, 1, 28, 28)
    for answer, target in ((raw, 0), (named, 3)):
        direct = captum.IntegratedGradients(network()).attribute(inputs, target=target, n_steps=15)
        np.testing.assert_allclose(np.array(answer), direct[0].numpy(), atol=1e-5)
    server.stop()


def test_a_profile_can_be_read_and_names_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "1")
    server = mnist_server(tmp_path)
    picture = (EXAMPLE / "test_data" / "7.png").read_bytes()
    assert server.client.put("/predictions/mnist", content=picture).text == "7"
    (trace,) = (server.temp / "pytorch_profiler" / "mnist").glob("*.json")
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"aten::conv2d", "aten::linear", "inference"} <= names
    server.wait_for("aten::conv2d")
    server.stop()
    assert "aten::conv2d" in (tmp_path / "logs" / "model_log.log").read_text()


def test_all_test_images(tmp_path: Path) -> None:
    packed = (DATA / "t10k-images-idx3-ubyte.gz").read_bytes()
    images = np.frombuffer(gzip.decompress(packed), np.uint8, offset=16).reshape(-1, 28, 28)
    packed = (DATA / "t10k-labels-idx1-ubyte.gz").read_bytes()
    labels = np.frombuffer(gzip.decompress(packed), np.uint8, offset=8)
    with torch.inference_mode():
        pixels = torch.from_numpy(images.copy()).float().unsqueeze(1) / 255
        here = network()((pixels - 0.1307) / 0.3081).argmax(1).numpy()
    pictures = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        pictures.append(buffer.getvalue())
    server = mnist_server(tmp_path)
    with ThreadPoolExecutor(16) as threads:
        answers = list(
            threads.map(
                lambda picture: int(server.client.put("/predictions/mnist", content=picture).text), pictures
            )
        )
    served = float((np.array(answers) == labels).mean())
    assert served == float((here == labels).mean())
    assert served >= 0.99
    assert server.stop()["answered"] == 10_000
