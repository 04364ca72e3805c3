"""Handlers as TorchServe's documentation and own tests show them, in real workers: old styles, answers."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from archives import HANDLERS, archived

from servers import Server

STATEFUL = """
minWorkers: 2
maxWorkers: 2
batchSize: 4
maxNumSequence: 4
sequenceMaxIdleMSec: 10
maxSequenceJobQueueSize: 10
sequenceBatching: true
"""
FOUR = "batchSize: 4\nmaxBatchDelay: 500\nminWorkers: 1\nmaxWorkers: 1\n"

pytestmark = pytest.mark.slow


def make_packages(folder: Path) -> list[Path]:
    """A zipped package, a module, and a folder whose content goes into the archive."""
    with zipfile.ZipFile(folder / "packed.zip", "w") as packed:
        packed.writestr("packed/__init__.py", "")
        packed.writestr("packed/inner.py", "GREETING = 'hello'\n")
    (folder / "helpers.py").write_text("NAME = 'first'\n")
    (folder / "extra" / "library").mkdir(parents=True)
    (folder / "extra" / "library" / "shelved.py").write_text("def mark(word):\n    return word + '!'\n")
    return [folder / "packed.zip", folder / "helpers.py", folder / "extra"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("documented")
    store = folder / "model_store"
    store.mkdir()
    archived(store, "old", "old_service.py", config=FOUR)
    torch.jit.script(torch.nn.Hardtanh()).save(folder / "clip.pt")  # type: ignore[no-untyped-call]
    archived(store, "scripted", "scripted_entry.py:clip_numbers", "--serialized-file", folder / "clip.pt")
    archived(store, "answers", "answers_handler.py", config=FOUR)
    archived(store, "parts", "parts_handler.py", config=FOUR)
    archived(store, "pre", "workflow_functions.py:pre_processing")
    archived(store, "aggregate", "workflow_functions.py:aggregate_func")
    archived(store, "folders", "folders_handler.py", extra=make_packages(folder), config=FOUR)
    (folder / "other").mkdir()
    (folder / "other" / "helpers.py").write_text("NAME = 'second'\n")
    archived(store, "others", "other_folders_handler.py", extra=[folder / "other" / "helpers.py"])
    compiled = "pt2: {backend: eager}\nminWorkers: 1\nmaxWorkers: 1\n"
    half = ("--model-file", HANDLERS / "tables_model.py")
    archived(store, "half", "half_handler.py", *half, config=compiled)
    archived(store, "sums", "sums_handler.py", config=STATEFUL)
    archived(store, "sums_in_parts", "sums_handler.py", config=f"{STATEFUL}continuousBatching: true\n")
    archived(store, "sums_alone", "sums_handler.py", config=FOUR)
    names = ("old", "scripted", "answers", "parts", "pre", "aggregate", "folders", "others", "half")
    models = tuple(f"{name}={name}.mar" for name in (*names, "sums_alone"))
    flags = ("--disable-token-auth", "--enable-model-api")
    server = Server(folder, models, {"default_workers_per_model": 1}, flags)
    yield server
    server.stop()


def at_once(server: Server, name: str, bodies: list[bytes]) -> list[httpx.Response]:
    """The answers to the bodies, all asked for at once."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: server.client.post(f"/predictions/{name}", content=body), bodies))


def test_a_service_of_the_module(served: Server) -> None:
    """MXNet Model Server's template: `_service` and `handle`, initialised late; its own catch reports 500."""
    answers = at_once(served, "old", [b"one", b"two", b"three"])
    assert [(answer.status_code, answer.text) for answer in answers] == [
        *((200, "ONE"), (200, "TWO"), (200, "THREE"))
    ]
    wrong = served.client.post("/predictions/old", content=b"\xff")
    assert (wrong.status_code, wrong.reason_phrase) == (500, "Unknown inference error")
    assert wrong.text.startswith("'utf-8' codec can't decode byte 0xff")


def test_an_entry_point_with_a_name_of_its_own(served: Server) -> None:
    """custom_service.md: a function that loads TorchScript when it is called without data."""
    answer = served.client.post("/predictions/scripted", json={"numbers": [3.0, -0.5, -2.0]})
    assert answer.json() == [1.0, -0.5, -1.0]


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        (b"none", 200, None),
        (b"number", 200, 1.5),
        (b"wrong", 400, {"error": "wrong"}),
        (b"teapot", 418, {"code": 418, "type": "InternalServerException", "message": "I brew tea"}),
        (b"memory", 507, {"code": 507, "type": "InternalServerException", "message": "Out of resources"}),
        (b"new", 503, {"code": 503, "type": "InternalServerException", "message": "Prediction failed"}),
    ],
)
def test_answers_and_errors(served: Server, asked: bytes, status: int, body: Any) -> None:
    """PredictionException, MemoryError, statuses that the handler sets, as TorchServe's test archives do."""
    answer = served.client.post("/predictions/answers", content=asked)
    found = answer.json()
    if status > 400:
        assert "cause" in found
        del found["cause"]
    assert (answer.status_code, found) == (status, body)


def test_answers_with_headers(served: Server) -> None:
    """respheader: content type and headers of the handler's own; text as UTF-8, bytes as they are."""
    answer = served.client.post("/predictions/answers", content=b"csv", headers={"x-place": "here"})
    assert answer.text == "a,b\n1,2\n"
    assert (answer.headers["content-type"], answer.headers["x-place"]) == ("text/csv", "here")
    assert served.client.post("/predictions/answers", content=b"text").content == "\u00e9".encode()
    assert served.client.post("/predictions/answers", content=b"bytes").content == b"\x00\xff"
    named = served.client.post("/predictions/answers", content=b"id", headers={"x-request-id": "mine"})
    assert named.text == named.headers["x-request-id"]


def test_one_row_of_a_batch_has_a_status_of_its_own(served: Server) -> None:
    answers = at_once(served, "answers", [b"number", b"wrong", b"number", b"text"])
    assert [answer.status_code for answer in answers] == [200, 400, 200, 200]
    assert answers[1].reason_phrase == "Wrong Row"


@pytest.mark.parametrize(
    ("url", "path"), [("answers", [""]), ("answers/1.0", [""]), ("answers/1.0/a/b%20c", ["a", "b c"])]
)
def test_the_rest_of_the_path(served: Server, url: str, path: list[str]) -> None:
    """A handler that splits the header `url_path`, which is there whatever the URL."""
    assert served.client.post(f"/predictions/{url}", content=b"path").json() == path


def test_what_a_handler_says_of_itself(served: Server) -> None:
    """noop-customized: the describe API with `customized` asks the handler."""
    (about,) = served.manage.get("/models/answers", params={"customized": "true"}).json()
    assert about["customizedMetadata"] == {"kinds": "all", "data1": "1"}
    (about,) = served.manage.get("/models/answers").json()
    assert "customizedMetadata" not in about


def test_parts_before_the_answer(served: Server) -> None:
    """inference_api.md: intermediate responses, by the name that TorchServe deprecated."""
    with served.client.stream("POST", "/predictions/parts", content=b"42") as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert "".join(answer.iter_text()) == "part 0, part 1, part 2, the end"


def test_functions_of_workflows_as_models(served: Server) -> None:
    """Workflows: what a node's function gets from the nodes before it comes as fields of a form."""
    assert served.client.post("/predictions/pre", content=b"\x00\x01").text == "AAE="
    fields = {"length": (None, json.dumps([3])), "upper": (None, "ABC")}
    answer = served.client.post("/predictions/aggregate", files=fields)
    assert answer.json() == {"length": [3], "upper": "ABC"}


def test_packages_in_an_archive(served: Server) -> None:
    """A zip that the handler unpacks, a folder that it adds to the path, equal names in two models, files."""
    for asked in (1, 2):
        found = served.client.post("/predictions/folders", content=b"").json()
        assert found == {"words": ["hello", "first!"], "asked": asked, "gpu": found["gpu"]}
    assert served.client.post("/predictions/others", content=b"").text == "second"
    served.wait_for(r"W-\d+-folders_1\.0-stdout MODEL_LOG - words: \['hello', 'first!'\]")
    served.wait_for(r"W-\d+-folders_1\.0-stderr MODEL_LOG - ready")


def test_the_old_form_of_compile_options(served: Server) -> None:
    """test_torch_compile: `pt2: {backend: ...}`, and a handler that reads `instances` itself."""
    asked = {"instances": [[1, 2, 3], [4, 5, 6], [0, 0, 2]]}
    assert served.client.post("/predictions/half", json=asked).json() == 3.0


@pytest.mark.parametrize("name", ["sums", "sums_in_parts"])
def test_stateful_examples_are_refused_in_words(served: Server, name: str) -> None:
    """stateful/*: what asks for sequence batching is refused at registration, not answered wrongly."""
    answer = served.manage.post("/models", params={"url": f"{name}.mar", "initial_workers": 1})
    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidModelException")
    said = answer.json()["message"]
    assert "asks for sequence batching, which torchkeeper does not have yet" in said
    assert ("asks for continuous batching" in said) is (name == "sums_in_parts")


def test_sequences_by_their_header(served: Server) -> None:
    """stateful: the same handler without the key keeps its sums by the id in the header, one worker."""
    for number, total in ((1, 1), (4, 5), (10, 15)):
        headers = {"ts_request_sequence_id": "a"}
        answer = served.client.post("/predictions/sums_alone", content=b"%d" % number, headers=headers)
        assert answer.json() == total
    other = served.client.post(
        "/predictions/sums_alone", content=b"2", headers={"ts_request_sequence_id": "b"}
    )
    assert other.json() == 2


def test_workflows_are_refused_in_words(served: Server) -> None:
    for method, url in (("POST", "/workflows?url=dogs.war"), ("DELETE", "/workflows/dogs")):
        answer = served.manage.request(method, url)
        assert answer.status_code == 501
        assert "asks for workflows, which torchkeeper does not have yet" in answer.json()["message"]
    assert served.client.post("/wfpredict/dogs", content=b"").status_code == 501
