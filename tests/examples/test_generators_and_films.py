"""TorchServe's examples that make pictures, and that watch films, in real workers."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from archives import HANDLERS, archived, imported
from PIL import Image

from servers import Server

LABELS = [["dance", "sing"], ["sing", "cook"], ["read"]]
BATCH = "batchSize: 4\nmaxBatchDelay: 500\n"
PROMPT = "a photo of an astronaut riding a horse on mars"

pytestmark = pytest.mark.slow


class Models:
    """The models of the archives, as they are without a server."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(12)
        self.generator = imported("generator_source.py").Generator(True)
        torch.save(self.generator.state_dict(), folder / "generator.pth")
        unet = folder / "diffusion" / "unet"
        unet.mkdir(parents=True)
        torch.save(torch.nn.Linear(5, 5).state_dict(), unet / "weights.bin")
        (unet.parent / "model_index.json").write_text('{"features": 5}')
        self.pipeline = imported("small_diffusion.py").DiffusionPipeline.from_pretrained(unet.parent)
        self.films = imported("small_multimodal.py")
        self.transformer = self.films.MultiModalTransformer(4)
        for parameter in self.transformer.parameters():
            parameter.data *= 4  # so that films differ clearly
        torch.save(self.transformer.state_dict(), folder / "films.pth")
        self.processors = self.films.build_processors({"level": 100, "words": 3})

    @torch.no_grad()
    def made(self, number: int, **wishes: str) -> bytes:
        """The generator's pictures, side by side in a JPEG file."""
        pictures = self.generator.test(self.generator.noise(number, wishes))
        pixels = torch.cat(list(pictures), dim=2).mul(255).round().byte().permute(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(file, format="JPEG")
        return file.getvalue()

    def drawn(self, prompt: str) -> Any:
        """The pipeline's picture of a text, as nested lists."""
        (image,) = self.pipeline([prompt], 7.5, 3, 6, 4).images
        return np.asarray(image).tolist()

    @torch.no_grad()
    def activities(self, film: bytes, script: str) -> list[str]:
        frames, sound = self.films.read_video(io.BytesIO(film))
        raw = {"video": frames, "audio": sound, "text": {"text": script}}
        scores = self.transformer({name: self.processors[name](value) for name, value in raw.items()})
        names = sorted({label for row in LABELS for label in row})
        return [name for name, score in zip(names, scores.tolist(), strict=True) if score > 0]


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Models]]:
    folder = tmp_path_factory.mktemp("generators_and_films")
    store = folder / "model_store"
    store.mkdir()
    models = Models(folder)
    source = {
        "networks/__init__.py": b"",
        "networks/generator.py": (HANDLERS / "generator_source.py").read_bytes(),
    }
    whole = ("--serialized-file", folder / "generator.pth")
    extra = [zipped(folder / "networks.zip", source)]
    archived(store, "dcgan", "generator_handler.py", *whole, "--force", extra=extra, config=BATCH)
    kept = {
        str(path.relative_to(folder / "diffusion")): path.read_bytes()
        for path in (folder / "diffusion").rglob("*")
        if path.is_file()
    }
    (folder / "requirements.txt").write_text("numpy\n")
    extra = [zipped(folder / "model.zip", kept), HANDLERS / "small_diffusion.py"]
    needs = ("-r", folder / "requirements.txt")
    archived(store, "stable-diffusion", "diffusion_handler.py", *needs, extra=extra, config=BATCH)
    rows = "\n".join(f'{place},"{labels}"' for place, labels in enumerate(LABELS))
    (folder / "action_labels.csv").write_text(f"id,action_labels\n{rows}\n")
    (folder / "config.yaml").write_text("processors:\n  level: 100\n  words: 3\n")
    extra = [folder / "action_labels.csv", folder / "config.yaml", HANDLERS / "small_multimodal.py"]
    archived(store, "films", "activity_handler.py", "--serialized-file", folder / "films.pth", extra=extra)
    flags = ("--disable-token-auth", "--enable-model-api")
    names = ("dcgan", "stable-diffusion")
    server = Server(
        folder, tuple(f"{name}={name}.mar" for name in names), {"default_workers_per_model": 1}, flags
    )
    yield server, models
    server.stop()


def test_pictures_of_noise(served: tuple[Server, Models]) -> None:
    """dcgan_fashiongen: source from a zip file, wishes as JSON, several pictures for a request of a batch."""
    server, models = served
    wishes: list[dict[str, Any]] = [
        {"number_of_images": 1},
        {"number_of_images": 4, "input_gender": "Men", "input_category": "SHIRTS"},
        {},
    ]
    with ThreadPoolExecutor(len(wishes)) as pool:
        answers = list(pool.map(lambda wish: server.client.post("/predictions/dcgan", json=wish), wishes))
    assert [answer.content for answer in answers] == [
        models.made(1),
        models.made(4, input_gender="Men", input_category="SHIRTS"),
        models.made(1),
    ]


def test_a_picture_of_a_text(served: tuple[Server, Models]) -> None:
    """diffusers: a text as body, as form field and as KServe v1 and v2 send it; its picture as numbers."""
    server, models = served
    path, expected = "/predictions/stable-diffusion", models.drawn(PROMPT)
    assert models.drawn("a cat") != expected
    for answer in (
        server.client.post(path, content=PROMPT),
        server.client.post(path, data={"data": PROMPT}),
        server.client.post(
            path, content=PROMPT, headers={"content-type": "application/x-www-form-urlencoded"}
        ),
    ):
        assert (answer.status_code, answer.json()) == (200, expected)
    answer = server.client.post("/v1/models/stable-diffusion:predict", json={"instances": [{"data": PROMPT}]})
    assert answer.json() == {"predictions": [expected]}
    tensor = {"name": "input-0", "shape": -1, "datatype": "BYTES", "data": PROMPT}
    answer = server.client.post("/v2/models/stable-diffusion/infer", json={"id": "d3b1", "inputs": [tensor]})
    (output,) = answer.json()["outputs"]
    assert (output["shape"], output["data"]) == ([6, 4, 3], np.array(expected).ravel().tolist())
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda text: server.client.post(path, content=text), ("a cat", PROMPT)))
    assert [answer.json() for answer in both] == [models.drawn("a cat"), expected]


def film(seed: int) -> bytes:
    content = np.random.default_rng(seed).integers(0, 50 * seed, 3 * 16 + 20, dtype=np.uint8)
    return b"3 20\n" + content.tobytes()


def test_films_with_scripts(served: tuple[Server, Models]) -> None:
    """MMF-activity-recognition: film, script and label in one form; files by names in the worker's folder."""
    server, models = served
    asked = {"model_name": "films", "url": "films.mar", "batch_size": "1", "max_batch_delay": "5000"}
    begun = server.manage.post("/models", params={**asked, "initial_workers": "1", "synchronous": "true"})
    assert begun.status_code == 200, begun.text

    def ask(seed: int, script: str, label: str = "sing") -> httpx.Response:
        files = {"data": film(seed), "script": script.encode(), "labels": label.encode()}
        return server.client.post("/predictions/films", files=files)

    found = []
    for seed, script in ((1, "A person walks."), (5, "Two people sing and dance in a kitchen."), (3, "")):
        answer = ask(seed, script)
        assert answer.json() == models.activities(film(seed), script)
        found.append(tuple(answer.json()))
    assert len(set(found)) > 1
    missed = ask(1, "A person walks.", "swim")
    assert (missed.status_code, missed.json()["cause"].partition(" (")[0]) == (503, "KeyError: 'swim'")
    said = server.wait_for(r"files of the model (\[.*\])")[1]
    assert {"MAR-INF", "action_labels.csv", "config.yaml", "films.pth"} <= set(json.loads(said))
