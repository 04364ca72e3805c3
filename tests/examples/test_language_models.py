"""TorchServe's examples of language models, in small, by real workers with Hugging Face's transformers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from archives import HANDLERS, archived

from servers import Server
from tools import tool

MAKE = Path(__file__).parent / "huggingface" / "make_generators.py"
STREAMER = """
minWorkers: 1
maxWorkers: 1
maxBatchDelay: 500
batchSize: 5
handler:
  model_path: model
  model_module_prefix: transformers
  model_class_name: GPT2LMHeadModel
  max_new_tokens: {length}
micro_batching:
  micro_batch_size: 2
  parallelism:
    preprocess: 2
    inference: 1
    postprocess: 2
"""
PROMPTS = """
minWorkers: 1
maxWorkers: 4
deviceType: "cpu"
pt2:
  backend: "openvino"
handler:
  profile: true
  model_store_dir: "{store}"
"""
#: What the configurations of examples ask for that is not here; a word of the refusal.
REFUSED = {
    "pippy": ("parallelType: pp\ntorchrun:\n  nproc-per-node: 4\n", "several processes"),
    "deepspeed": ("parallelType: tp\ndeepspeed:\n  config: c.json\n", "several processes"),
    "continuous": ("maxBatchDelay: 0\nbatchSize: 8\ncontinuousBatching: true\n", "continuous batching"),
}

pytestmark = pytest.mark.slow


def folder(store: Path, name: str, handler: str, model: Path, config: str, *extra: Path) -> None:
    """An archive that is a folder, with the model put into it, as the READMEs do."""
    archived(store, name, handler, "--archive-format", "no-archive", config=config, extra=extra)
    shutil.copytree(model, store / name / "model")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server with the models, and what they say by themselves."""
    home = tmp_path_factory.mktemp("language_models")
    (packages,) = (tool("huggingface").parent / "lib").glob("python*/site-packages")
    environ = {"PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1", "MODEL_NAME_LLM": "tiny/Llama"}
    store = home / "model_store"
    store.mkdir()
    subprocess.run([sys.executable, MAKE, home], check=True, env={**os.environ, **environ})
    expected = json.loads((home / "expected.json").read_text())
    generator, embedder = home / "generator", home / "embedder"
    length = expected["length"]
    folder(store, "streamer", "small_batches_streamer.py", generator, STREAMER.format(length=length))
    shutil.make_archive(str(home / "model"), "zip", generator)
    (home / "setup_config.json").write_text(json.dumps({"revision": "main", "max_length": str(length)}))
    extra = (home / "model.zip", home / "setup_config.json")
    config = "batchSize: 4\nmaxBatchDelay: 500\n"
    archived(store, "zipped", "zipped_generator.py", extra=extra, config=config)
    config = f"handler:\n  model_path: model\n  documents: {json.dumps(expected['texts'])}\n"
    folder(store, "rag", "context_finder.py", embedder, config, HANDLERS / "context_embeddings.py")
    config = "handler:\n  model_path: model\npt2:\n  compile:\n    enable: True\n    backend: eager\n"
    folder(store, "compiled", "compiled_generator.py", generator, config)
    folder(store, "tiny---Llama", "prompts_handler.py", generator, PROMPTS.format(store=store))
    for name, (config, _) in REFUSED.items():
        archived(store, name, "small_batches_streamer.py", "--archive-format", "tgz", config=config)
    settings = {
        "default_response_timeout": 300,
        "default_startup_timeout": 300,
        "default_workers_per_model": 1,
    }
    models = ("streamer", "zipped=zipped.mar", "rag", "compiled", "tiny---Llama")
    flags = ("--disable-token-auth", "--enable-model-api")
    server = Server(home, models, settings, flags, environ=environ)
    server.client.timeout = server.manage.timeout = 300
    yield server, expected
    assert server.stop()["failed"] == 0


def pieces(said: str) -> list[str]:
    """The texts of JSON objects that follow one another."""
    found, decoder = [], json.JSONDecoder()
    while said := said.strip():
        piece, end = decoder.raw_decode(said)
        found.append(piece["text"])
        said = said[end:]
    return found


def test_texts_of_small_batches_are_streamed(served: tuple[Server, dict[str, Any]]) -> None:
    """inferentia2/llama/streamer: micro-batches and a streamer for their rows, batch after batch."""
    server, expected = served

    def streamed(text: str) -> list[str]:
        with server.client.stream("POST", "/predictions/streamer", json={"prompt": text}) as answer:
            assert answer.status_code == 200
            return pieces("".join(answer.iter_text()))

    for _ in range(3):
        with ThreadPoolExecutor(len(expected["texts"])) as pool:
            texts = list(pool.map(streamed, expected["texts"]))
        assert ["".join(parts).strip() for parts in texts] == expected["whole"]
        assert all(len(parts) > expected["length"] for parts in texts)


def test_texts_by_a_model_in_an_inner_zip(served: tuple[Server, dict[str, Any]]) -> None:
    """large_models/Huggingface_accelerate: model.zip is unpacked there, and texts come in batches."""
    server, expected = served
    texts = expected["texts"]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(lambda text: server.client.put("/predictions/zipped", content=text), texts))
    assert [answer.text for answer in answers] == expected["whole"]


def test_texts_by_a_compiled_model(served: tuple[Server, dict[str, Any]]) -> None:
    """torch_tensorrt/torchcompile/T5: the handler compiles a part of its model by the section pt2."""
    server, expected = served
    for text, whole in list(zip(expected["texts"], expected["whole"], strict=True))[:2]:
        assert server.client.put("/predictions/compiled", content=text).text == whole
    server.wait_for(r"W-\d+-compiled_1.0-std\w+ MODEL_LOG - .*Compiled model with backend eager\n")


def test_a_question_with_its_context(served: tuple[Server, dict[str, Any]]) -> None:
    """RAG_based_LLM_serving: an index that is made while loading, by a sibling's embeddings."""
    server, expected = served
    vectors = torch.tensor(expected["embeddings"])
    for number, question in enumerate(expected["texts"]):
        nearest = torch.cdist(vectors[number : number + 1], vectors)[0].argsort()[:2]
        found = [expected["texts"][place] for place in nearest]
        answer = server.client.post("/predictions/rag", content=question)
        assert answer.text.split("\n") == [*found, f"Question: {question}", "Answer:"]


def test_prompts_of_a_prompt(served: tuple[Server, dict[str, Any]]) -> None:
    """llm_diffusion_serving_app: a name with dashes, paths by the environment, lists, and timed steps."""
    server, expected = served
    asked = {"user_prompt": expected["texts"][0], "max_new_tokens": expected["length"]}
    for headers in ({"Content-Type": "application/json", "Accept": "text/plain"}, {}):
        answer = server.client.post("/predictions/tiny---Llama", content=json.dumps(asked), headers=headers)
        assert answer.json() == [expected["texts"][0], expected["whole"][0]]
    described = server.manage.get("/models/tiny---Llama").json()[0]
    assert described["workers"][0]["status"] == "READY"
    server.wait_for(r"\[METRICS\]ts_handler_inference\.Milliseconds:[\d.]+\|#ModelName:tiny---Llama")


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_here_is_refused_at_registration(
    served: tuple[Server, dict[str, Any]], name: str
) -> None:
    """Huggingface_pippy, deepspeed, tp_llama and continuous batching: one sentence, and no model."""
    server, _ = served
    asked = {"url": f"{name}.tar.gz", "model_name": name, "initial_workers": "1", "synchronous": "true"}
    refused = server.manage.post("/models", params=asked)
    assert refused.status_code == 400
    assert REFUSED[name][1] in refused.json()["message"]
    assert server.manage.get(f"/models/{name}").status_code == 404
