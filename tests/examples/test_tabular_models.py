"""TorchServe's examples of tables, recommendations and metrics in real workers; graphs, time series."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from archives import HANDLERS, archived, imported

from servers import Server

STUMPS = [
    {"class": 0, "feature": 2, "threshold": 2.5, "above": -1.0, "below": 2.0},
    {"class": 1, "feature": 3, "threshold": 1.6, "above": 0.0, "below": 1.0},
    {"class": 2, "feature": 3, "threshold": 1.6, "above": 1.5, "below": -1.0},
]
LABELS = {"0": "setosa", "1": "versicolor", "2": "virginica"}
BATCH = "batchSize: {size}\nmaxBatchDelay: 500\nminWorkers: 1\nmaxWorkers: 1\n"
MICRO = """micro_batching:
  micro_batch_size: 3
  parallelism:
    preprocess: 2
    inference: 1
    postprocess: 2
"""
METRICS = """
dimensions:
  - &model_name "ModelName"
  - &level "Level"
ts_metrics:
  counter:
    - name: Requests2XX
      unit: Count
      dimensions: [*level, "Hostname"]
model_metrics:
  counter:
    - name: Asked
      unit: count
      dimensions: []
    - name: Loads
      unit: count
      dimensions: [*model_name, *level]
    - name: Answered
      unit: Answers
      dimensions: [*model_name, *level]
  gauge:
    - name: BatchSize
      unit: count
      dimensions: ["ModelName"]
    - name: LengthOfText
      unit: kB
      dimensions: [*model_name, *level]
"""

pytestmark = pytest.mark.slow


class Nets:
    """The models that are served, in this process."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(3)
        for beside in ("recommender_config.py", "recommender_network.py"):
            imported(beside)
        self.recommender = imported("recommender_factory.py").RecommenderFactory()
        self.graph = imported("graph_model.py").Neighbours()
        torch.save(self.recommender.state_dict(), folder / "recommender.pt")
        torch.save(self.graph.state_dict(), folder / "graph.pt")
        (folder / "stumps.json").write_text(json.dumps({"stumps": STUMPS}))
        (folder / "index_to_name.json").write_text(json.dumps(LABELS))
        (folder / "metrics.yaml").write_text(METRICS)
        floats = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 1])
            for name in ("modelInput", "modelOutput")
        ]
        node = onnx.helper.make_node("Add", ["modelInput", "modelInput"], ["modelOutput"])
        graph = onnx.helper.make_graph([node], "doubles", floats[:1], floats[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, folder / "doubles.onnx")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Nets]]:
    folder = tmp_path_factory.mktemp("tables")
    store = folder / "model_store"
    store.mkdir()
    nets = Nets(folder)
    labels = folder / "index_to_name.json"
    four = BATCH.format(size=4)

    def weights(model: str, file: str) -> tuple[str | Path, ...]:
        return ("--model-file", HANDLERS / model, "--serialized-file", folder / file)

    stumps = ("--serialized-file", folder / "stumps.json")
    archived(store, "trees", "trees_handler.py", *stumps, extra=[labels], config=four)
    beside = [HANDLERS / "recommender_config.py", HANDLERS / "recommender_network.py"]
    factory = weights("recommender_factory.py", "recommender.pt")
    archived(store, "recommender", "recommender_handler.py", *factory, extra=beside, config=four)
    archived(store, "tables", "tables_handler.py", "--model-file", HANDLERS / "tables_model.py", config=four)
    graph = weights("graph_model.py", "graph.pt")
    archived(store, "graph", "graph_handler.py", *graph, extra=[labels], config=four)
    eight = BATCH.format(size=8) + MICRO
    trend = ("--model-file", HANDLERS / "tables_model.py")
    archived(store, "micro", "micro_numbers_handler.py", *trend, config=eight)
    archived(store, "counting", "counting_handler.py", config=four)
    archived(store, "session", "session_runner.py", "--serialized-file", folder / "doubles.onnx", config=four)
    names = ("trees", "recommender", "tables", "graph", "micro", "counting", "session")
    settings = {
        "metrics_mode": "prometheus",
        "metrics_config": folder / "metrics.yaml",
        "model_metrics_auto_detect": "true",
    }
    server = Server(folder, tuple(f"{name}={name}.mar" for name in names), settings)
    yield server, nets
    server.stop()


def at_once(server: Server, name: str, bodies: list[Any]) -> list[httpx.Response]:
    """The answers to the bodies, all asked for at once: bytes as they are, everything else as JSON."""

    def ask(body: Any) -> httpx.Response:
        form: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        return server.client.post(f"/predictions/{name}", **form)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(ask, bodies))


def values(answers: list[httpx.Response]) -> list[Any]:
    assert [answer.status_code for answer in answers] == [200] * len(answers), [one.text for one in answers]
    return [answer.json() for answer in answers]


def test_trees_that_the_handler_loads_itself(served: tuple[Server, Nets]) -> None:
    """xgboost_classfication: a handler without a torch model reads comma-separated bytes, or a JSON list."""
    server, _ = served
    bodies = [b"6.1,2.8,4.7,1.2", [5.7, 3.8, 1.7, 0.3], b"6.3,2.5,5.0,1.9\n"]
    answers = at_once(server, "trees", bodies)
    assert [answer.text for answer in answers] == ["versicolor", "setosa", "virginica"]
    wrong = server.client.post("/predictions/trees", content=b"long,short")
    assert (wrong.status_code, wrong.json()["message"]) == (503, "Prediction failed")
    assert "ValueError: could not convert string to float: 'long'" in wrong.json()["cause"]


def test_recommendations(served: tuple[Server, Nets]) -> None:
    """torchrec_dlrm: the model file's class makes another one's object, and modules lie beside it."""
    server, nets = served
    asked = [
        ([0.1, -0.2, 0.3], [[1, 2], [4]]),
        ([1.0, 0.0, -1.0], [[6], []]),
        ([0.5, 0.5, 0.5], [[], [0, 1, 2]]),
    ]
    bodies: list[Any] = [
        {
            "float_features": dense,
            "id_list_features.lengths": [len(ids) for ids in sparse],
            "id_list_features.values": [*itertools.chain(*sparse)],
        }
        for dense, sparse in asked
    ]
    bodies[1] = json.dumps(bodies[1]).encode()  # curl without a content type: the handler parses it
    for (dense, sparse), answer in zip(asked, values(at_once(server, "recommender", bodies)), strict=True):
        lengths = torch.tensor([[len(ids)] for ids in sparse])
        flat = torch.tensor([*itertools.chain(*sparse)], dtype=torch.long)
        expected = nets.recommender(torch.tensor([dense]), lengths, flat).item()
        assert answer == {"score": pytest.approx(expected, abs=1e-6)}


def npy(rows: list[list[float]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [None, "text/csv", "application/octet-stream"])
def test_tables_as_text(served: tuple[Server, Nets], kind: str | None) -> None:
    """CSV reaches the handler as bytes, or as text where the request says so."""
    server, _ = served
    headers = {"content-type": kind} if kind else {}
    answer = server.client.post("/predictions/tables", content=b"1,2,3\n3,1,5\n", headers=headers)
    assert answer.json() == [4.0, 6.0]


def test_tables_of_several_forms_in_one_batch(served: tuple[Server, Nets]) -> None:
    """Rows, a data frame's `split` form, columns in an object, NPY as bytes and in Base64."""
    server, _ = served
    rows = [[1.0, 2.0, 3.0], [3.0, 1.0, 5.0]]
    frame = {"columns": ["t2", "t0", "t1"], "data": [[3, 1, 2]], "index": [0]}
    named = {"series": [{"t0": 1, "t1": 2, "t2": 3}]}
    encoded = {"npy": base64.b64encode(npy(rows)).decode()}
    answers = at_once(server, "tables", [rows, frame, named, npy(rows), encoded, json.dumps(rows).encode()])
    assert values(answers) == [[4.0, 6.0], [4.0], [4.0], [4.0, 6.0], [4.0, 6.0], [4.0, 6.0]]


def test_graphs_of_a_batch_become_one(served: tuple[Server, Nets]) -> None:
    """A graph network in plain torch: each client gets its own nodes' classes, whatever shares the batch."""
    server, nets = served
    torch.manual_seed(5)
    graphs: list[Any] = [
        {"nodes": torch.randn(size, 2).tolist(), "edges": [[at, (at + 1) % size] for at in range(size)]}
        for size in (3, 1, 5)
    ]
    for graph, answer in zip(graphs, values(at_once(server, "graph", graphs)), strict=True):
        with torch.no_grad():
            scores = nets.graph(torch.tensor(graph["nodes"]), torch.tensor(graph["edges"]).T)
        assert answer == [LABELS[str(one)] for one in scores.argmax(1).tolist()]


def test_micro_batches(served: tuple[Server, Nets]) -> None:
    """micro_batching: pieces of three rows by threads of their own, set up from model-config.yaml."""
    server, _ = served
    bodies = [{"series": [0, 0, 2 * number]} for number in range(8)]
    answers = values(at_once(server, "micro", bodies))
    assert [answer["forecast"] for answer in answers] == [3.0 * number for number in range(8)]
    assert {answer["piece"] for answer in answers} <= {0, 1, 2}
    wrong = server.client.post("/predictions/micro", json={"series": "none"})
    assert (wrong.status_code, wrong.json()["message"]) == (503, "Prediction failed")


def test_an_onnx_session_by_its_own_method(served: tuple[Server, Nets]) -> None:
    """A handler that calls `run` of what BaseHandler loaded from an .onnx file."""
    server, _ = served
    assert values(at_once(server, "session", [b"1.5", b"-2"])) == [3.0, -4.0]


def test_numbers_of_a_handler(served: tuple[Server, Nets]) -> None:
    """custom_metrics: each call of the documentation, declared in metrics.yaml or not, also in threads."""
    server, _ = served
    for text in (b"four", b"longer!!"):
        assert server.client.post("/predictions/counting", content=text).json() == len(text)
    page = server.metrics.get("/metrics").text
    found = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*?),?\} (\S+)$", page, re.MULTILINE):
        known = dict(re.findall(r'(\w+)="(.*?)"', labels))
        known.pop("Hostname", None)
        if known.get("ModelName", "counting") == "counting":
            found[(name, *(f"{key}={text}" for key, text in known.items()))] = float(value)
    model = ("ModelName=counting", "Level=Model")
    assert found["Asked",] == 2
    assert found["Batches", "ModelName=counting"] == 2
    assert found["BatchSize", "ModelName=counting"] == 1
    assert (found["Loads", *model], found["LoadsInThreads", *model]) == (1, 1)
    assert (found["Answered", *model], found["LengthOfText", *model]) == (2, 2)
    assert found["TimeInThreads", "Place=0", *model] == 12
    assert (found["Share_count", *model], found["Share_sum", *model]) == (2, 100)
    assert "# TYPE Share histogram" in page
    assert "# TYPE TimeInThreads gauge" in page
    assert re.search(r"^# HELP Answered .* unit: Answers$", page, re.MULTILINE)
