"""Hugging Face's models in real workers, by a handler of the shape of TorchServe's transformer example."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from servers import BIN, Server
from tools import tool

HERE = Path(__file__).parent / "huggingface"
CONFIG = """
batchSize: 4
maxBatchDelay: 500
handler:
  mode: {mode}
  model_name: tiny
  save_mode: {save_mode}
  max_length: {length}
  do_lower_case: true
  captum_explanation: {explained}
  embedding_name: bert
"""
#: Model -> task, the file with the weights, and whether its texts come with a target.
MODELS = {
    "sequence": ("sequence_classification", "model.safetensors", True),
    "token": ("token_classification", "traced_model.pt", False),
    "question": ("question_answering", "model.safetensors", True),
    "generation": ("text_generation", "model.safetensors", False),
}
LABELS = {"0": "Rejected", "1": "Accepted", "2": "Unsure", "label_list": "[O, B-PER, I-PER]"}

pytestmark = pytest.mark.slow


def archive(model: Path, store: Path, length: int) -> None:
    """The model's archive, by the command line that the example documents."""
    mode, weights, explained = MODELS[model.name]
    save_mode = "torchscript" if weights.endswith(".pt") else "pretrained"
    (model / "index_to_name.json").write_text(json.dumps(LABELS))
    (model / "model-config.yaml").write_text(
        CONFIG.format(mode=mode, save_mode=save_mode, length=length, explained=str(explained).lower())
    )
    others = [path for path in model.iterdir() if path.name not in ("model-config.yaml", weights)]
    subprocess.run(
        [
            BIN / "torch-model-archiver",
            *("--model-name", model.name, "--version", "1.0", "--serialized-file", model / weights),
            *("--handler", HERE / "handler.py", "--config-file", model / "model-config.yaml"),
            *("--extra-files", ",".join(map(str, others)), "--export-path", store),
        ],
        check=True,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server with the four models, and what they say by themselves."""
    home = tmp_path_factory.mktemp("huggingface")
    (packages,) = (tool("huggingface").parent / "lib").glob("python*/site-packages")
    environ = {"PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"}
    models, store = home / "models", home / "model_store"
    models.mkdir()
    store.mkdir()
    subprocess.run(
        [sys.executable, HERE / "make_models.py", models], check=True, env={**os.environ, **environ}
    )
    expected = json.loads((models / "expected.json").read_text())
    for name in MODELS:
        archive(models / name, store, expected["length"])
    settings = {"default_response_timeout": 300, "default_startup_timeout": 300}
    server = Server(home, tuple(f"{name}={name}.mar" for name in MODELS), settings, environ=environ)
    yield server, expected
    ledger = server.stop()
    assert ledger["failed"] == 0
    assert ledger["answered"] == ledger["accepted"]


def ask(server: Server, path: str, texts: list[str]) -> list[Any]:
    """The answers to the texts, all asked for at once."""
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(lambda text: server.client.post(path, content=text, timeout=300), texts))
    assert [answer.status_code for answer in answers] == [200] * len(texts), [one.text for one in answers]
    return [json.loads(one.text) if one.text[:1] in "[{" else one.text for one in answers]


def with_target(text: str) -> str:
    return str({"text": text, "target": 1})


def test_sequence_classification(served: Any) -> None:
    server, expected = served
    answers = ask(server, "/predictions/sequence", [with_target(text) for text in expected["texts"]])
    assert answers == [LABELS[str(label)] for label in expected["sequence"]]


def test_token_classification_by_torchscript(served: Any) -> None:
    server, expected = served
    labels, texts = LABELS["label_list"].strip("[]").split(", "), expected["texts"]
    answers = ask(server, "/predictions/token", texts)
    for text, answer, numbers in zip(texts, answers, expected["token"], strict=True):
        words = ["[CLS]", *text.split(), "[SEP]"]
        words += ["[PAD]"] * (expected["length"] - len(words))
        assert answer == [[word, labels[number]] for word, number in zip(words, numbers, strict=True)]


def test_question_answering(served: Any) -> None:
    server, expected = served
    asked = str(dict(zip(("question", "context"), expected["asked"], strict=True)))
    assert ask(server, "/predictions/question", [asked, asked]) == [expected["question"]] * 2


def test_text_generation(served: Any) -> None:
    server, expected = served
    for text, continued in zip(expected["texts"], expected["generation"], strict=True):
        assert ask(server, "/predictions/generation", [text]) == [continued]


def test_explanations_of_a_classified_text(served: Any) -> None:
    server, expected = served
    (answer,) = ask(server, "/explanations/sequence", [with_target(expected["texts"][0])])
    assert answer["words"] == ["[CLS]", *expected["texts"][0].split(), "[SEP]"]
    assert answer["importances"] == pytest.approx(expected["importances"], abs=1e-4)
    assert isinstance(answer["delta"], float)


def test_explanations_of_an_answered_question(served: Any) -> None:
    server, expected = served
    question, context = expected["asked"]
    asked = str({"question": question, "context": context, "target": 0})
    (answer,) = ask(server, "/explanations/question", [asked])
    words = ["[CLS]", *question.split(), "[SEP]", *context.split(), "[SEP]"]
    assert answer["words"] == words
    for end in ("start", "end"):
        assert len(answer[f"importances_answer_{end}"]) == len(words)
