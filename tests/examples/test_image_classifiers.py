"""TorchServe's image classification examples in real workers, on networks of the same shapes in small."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from archives import HANDLERS, archived
from captum.attr import IntegratedGradients
from drawn import at_once, digit, imagenet, png
from networks import BUILTIN, LABELS, Models

from servers import Server

PETS = ["cat", "dog", "hamster", "canary", "carp", "gecko"]
MICRO = """
batchSize: 8
maxBatchDelay: 500
micro_batching:
  micro_batch_size: 2
  parallelism:
    preprocess: 2
    inference: 1
    postprocess: 2
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Models]]:
    folder = tmp_path_factory.mktemp("image_classifiers")
    store = folder / "model_store"
    store.mkdir()
    models = Models(folder)
    (folder / "index_to_name.json").write_text(json.dumps(LABELS))
    extra = (folder / "index_to_name.json", HANDLERS / "small_networks.py")

    def archive(name: str, handler: str, model: str, config: str = "") -> None:
        files = ("--model-file", HANDLERS / f"{model}_model.py", "--serialized-file", folder / f"{model}.pth")
        archived(store, name, handler, *files, extra=() if model == "digits" else extra, config=config)

    for name in BUILTIN:
        archive(name, "image_classifier", name)
    archive("vgg", "vgg_handler.py", "vgg")
    archive("profiled", "image_classifier", "resnet", "handler:\n  profile: true\n")
    archive("digits", "digits_handler.py", "digits", "batchSize: 4\nmaxBatchDelay: 500\n")
    archive("tensors", "digit_tensors_handler.py", "digits")
    archive("frames", "frames_handler.py", "resnet")
    archive("pets", "pet_handler.py", "resnet")
    archive("breeds", "breed_handler.py", "resnet", "batchSize: 4\nmaxBatchDelay: 500\n")
    archive("micro", "micro_batches_handler.py", "resnet", MICRO)
    traced = torch.jit.trace(models.known["resnet"], torch.rand(1, 3, 224, 224))  # type: ignore[no-untyped-call]
    traced.save(folder / "traced.pt")
    for name, handler in (("traced", "image_classifier"), ("traced_vgg", "vgg_handler.py")):
        archived(store, name, handler, "--serialized-file", folder / "traced.pt", extra=extra[:1])
    archived(store, "base64", "base64_handler.py:encode")
    names = sorted(path.stem for path in store.glob("*.mar"))
    flags = ("--disable-token-auth", "--enable-model-api")
    server = Server(
        folder, tuple(f"{name}={name}.mar" for name in names), {"default_workers_per_model": 1}, flags
    )
    yield server, models
    server.stop()


@pytest.mark.parametrize("name", [*BUILTIN, "vgg"])
def test_classifiers_with_a_model_file(served: tuple[Server, Models], name: str) -> None:
    """alexnet, densenet_161 (old names in its checkpoint), resnet_18, squeezenet; vgg_16 loads it itself."""
    server, models = served
    for seed in (1, 2):
        answer = server.client.put(f"/predictions/{name}", content=png(seed))
        assert (answer.status_code, answer.json()) == (200, models.says(name, imagenet(png(seed))))
        said = list(answer.json().values())
        assert said == sorted(said, reverse=True)


@pytest.mark.parametrize("name", ["traced", "traced_vgg"])
def test_torchscript_in_place_of_a_model_file(served: tuple[Server, Models], name: str) -> None:
    """The second half of those READMEs: the same model as TorchScript, answered and explained alike."""
    server, models = served
    answer = server.client.put(f"/predictions/{name}", content=png(2))
    assert (answer.status_code, answer.json()) == (200, models.says("resnet", imagenet(png(2))))
    explained, eager = (
        server.client.put(f"/explanations/{model}", content=png(2)).json() for model in (name, "resnet")
    )
    torch.testing.assert_close(torch.tensor(explained), torch.tensor(eager), atol=1e-4, rtol=1e-3)


def test_a_batch_of_a_model_that_is_registered_with_batch_size(served: tuple[Server, Models]) -> None:
    """resnet_152_batch: the same archive under another name, its batch by parameters of the registration."""
    server, models = served
    asked = {"model_name": "resnet152", "url": "resnet.mar", "batch_size": "4", "max_batch_delay": "5000"}
    begun = server.manage.post("/models", params={**asked, "initial_workers": "1", "synchronous": "true"})
    assert begun.json() == {"status": 'Model "resnet152" Version: 1.0 registered with 1 initial workers'}
    pictures = [png(3), png(4, (300, 300)), png(5)]
    answers = at_once(server, "/predictions/resnet152", pictures)
    assert [answer.json() for answer in answers] == [
        models.says("resnet", imagenet(picture)) for picture in pictures
    ]
    (about,) = server.manage.get("/models/resnet152").json()
    assert (about["batchSize"], about["maxBatchDelay"]) == (4, 5000)


def test_the_handlers_steps_are_timed(served: tuple[Server, Models]) -> None:
    """benchmarking/resnet50: `profile: true` records how long each step takes."""
    server, models = served
    answer = server.client.put("/predictions/profiled", content=png(6))
    assert answer.json() == models.says("resnet", imagenet(png(6)))
    for step in ("preprocess", "inference", "postprocess"):
        said = (
            rf"result=\[METRICS\]ts_handler_{step}\.Milliseconds:[\d.e-]+\|#ModelName:profiled,Level:Model\|"
        )
        server.wait_for(said)


def test_digits_in_a_batch_and_explained(served: tuple[Server, Models]) -> None:
    """mnist: own image processing and postprocess; Captum's answer is that of Captum here."""
    server, models = served
    pictures = [png(seed, (28, 28), "L") for seed in range(4)]
    answers = at_once(server, "/predictions/digits", pictures)
    assert [int(answer.text) for answer in answers] == [models.best("digits", digit(one)) for one in pictures]
    explain = IntegratedGradients(models.known["digits"])  # type: ignore[no-untyped-call]  # untyped there
    for target in (0, 7):
        expected = explain.attribute(digit(pictures[0]), target=target, n_steps=15)
        fields = {"data": pictures[0], "target": str(target).encode()}
        found = server.client.post("/explanations/digits", files=fields)
        torch.testing.assert_close(torch.tensor(found.json()), expected[0].float(), atol=1e-5, rtol=1e-4)
    plain = server.client.put("/explanations/digits", content=pictures[0])
    assert plain.json() == server.client.post("/explanations/digits", files={"data": pictures[0]}).json()


def test_digits_as_numbers_in_json(served: tuple[Server, Models]) -> None:
    """mnist/torchdata: the body is a JSON object whose `image` is the batch's tensor."""
    server, models = served
    tensor = torch.rand(1, 1, 28, 28)
    answer = server.client.post("/predictions/tensors", json={"image": tensor.tolist()})
    assert (answer.status_code, int(answer.text)) == (200, models.best("digits", tensor))
    missed = server.client.post("/predictions/tensors", json={"picture": 1})
    assert (missed.status_code, missed.json()["cause"].partition(" (")[0]) == (503, "KeyError: 'image'")


def test_frames_of_a_film_in_one_request(served: tuple[Server, Models]) -> None:
    """near_real_time_video: a JSON object of frames, base64 text or numbers; one answer with all of them."""
    server, models = served
    pictures = [png(seed) for seed in (7, 8, 9)]
    body = json.dumps({str(place): base64.b64encode(one).decode() for place, one in enumerate(pictures)})
    kinds = {"Content-type": "application/json", "Accept": "text/plain"}
    answer = server.client.post("/predictions/frames", content=body, headers=kinds)
    assert answer.json() == [models.says("resnet", imagenet(one)) for one in pictures]
    numbers = torch.rand(2, 3, 32, 32)
    answer = server.client.post(
        "/predictions/frames", json={"0": numbers[0].tolist(), "1": numbers[1].tolist()}
    )
    assert answer.json() == [models.says("resnet", frame) for frame in numbers]


def test_a_workflows_models_each_by_itself(served: tuple[Server, Models]) -> None:
    """Workflows/dog_breed_classification: a function that encodes, cats and dogs, breeds of dogs."""
    server, models = served
    picture = png(10)
    text = server.client.put("/predictions/base64", content=picture).text
    assert text == base64.b64encode(picture).decode()
    pet = server.client.put("/predictions/pets", content=text.encode()).text
    assert pet == PETS[models.best("resnet", imagenet(picture)[None])]
    steps = [("dog", png(11)), ("cat", png(12)), ("dog", png(13))]

    def breed(step: tuple[str, bytes]) -> httpx.Response:
        fields = {"pet": (None, step[0].encode()), "picture": (None, base64.b64encode(step[1]))}
        return server.client.post("/predictions/breeds", files=fields)

    with ThreadPoolExecutor(len(steps)) as pool:
        first, second, third = pool.map(breed, steps)
    assert second.text == "no dog"
    for answer, (_, picture) in zip((first, third), (steps[0], steps[2]), strict=True):
        assert answer.json() == models.says("resnet", imagenet(picture))


def test_pictures_in_micro_batches(served: tuple[Server, Models]) -> None:
    """micro_batching: five pictures as three small batches; one that is none fails alone."""
    server, models = served
    pictures = [png(seed) for seed in range(14, 19)]
    answers = at_once(server, "/predictions/micro", [*pictures[:3], b"no picture", *pictures[3:]])
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 200, 200]
    assert answers.pop(3).json()["cause"] == "no picture that Pillow can read (10 bytes)"
    assert [one.json() for one in answers] == [models.says("resnet", imagenet(one)) for one in pictures]
