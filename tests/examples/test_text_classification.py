"""TorchServe's text classification example in real workers: its command line, batches, explanations."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from servers import BIN, Server

#: The example's model, in small.
MODEL = """
import torch


class TextSentiment(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.EmbeddingBag(8, 4, sparse=True)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))
"""
WORDS = ["<unk>", "good", "bad", "news", "very", "day", "good news", "bad news"]
#: The sum of an embedding's values speaks for the second class, and good words have positive ones.
WEIGHTS = {
    "embedding.weight": torch.tensor([0.0, 4, -4, 0, 0, 0, 4, -4]).repeat(4, 1).T.contiguous(),
    "fc.weight": torch.tensor([[-1.0] * 4, [1.0] * 4]),
    "fc.bias": torch.zeros(2),
}

pytestmark = pytest.mark.slow


def test_the_example(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    torch.save(WEIGHTS, tmp_path / "model.pt")
    torch.save({word: number for number, word in enumerate(WORDS)}, tmp_path / "source_vocab.pt")
    (tmp_path / "index_to_name.json").write_text('{"0": "Bad", "1": "Good"}')
    (tmp_path / "model-config.yaml").write_text("batchSize: 4\nmaxBatchDelay: 500\n")
    (tmp_path / "model_store").mkdir()
    subprocess.run(
        [
            BIN / "torch-model-archiver",
            *("--model-name", "my_tc", "--version", "1.0", "--model-file", "model.py"),
            *("--serialized-file", "model.pt", "--handler", "text_classifier"),
            *("--extra-files", "index_to_name.json,source_vocab.pt", "-c", "model-config.yaml"),
            *("--export-path", "model_store"),
        ],
        check=True,
        cwd=tmp_path,
    )
    server = Server(tmp_path, ("my_tc=my_tc.mar",), {})
    texts = ["Good news!", "very <b>bad</b> news", b"\xff", "it's a good day"]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(
            pool.map(lambda text: server.client.post("/predictions/my_tc", content=text), texts)  # type: ignore[arg-type]
        )
    assert [answer.status_code for answer in answers] == [200, 200, 503, 200]
    said = [max(one.json(), key=one.json().get) for one in answers if one.status_code == 200]
    assert said == ["Good", "Bad", "Good"]
    explained = server.client.post("/explanations/my_tc", files={"data": b"Good news!", "target": b"1"})
    assert explained.json()["words"] == ["good", "news"]
    assert explained.json()["importances"] == [pytest.approx([0.25] * 4)]
    missed = server.client.post("/explanations/my_tc", files={"data": b"Good news!", "target": b"2"})
    assert missed.status_code == 400
    assert "target 2 is out of range: the model's classes are 0 to 1" in missed.text
    envelope = server.client.post("/predictions/my_tc", json={"data": "bad news"})
    assert envelope.json()["Bad"] > 0.9
    server.stop()
