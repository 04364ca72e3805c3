"""The handler `mlflow` as in a worker: what it loads, how it answers batches, whom it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mlflow_models import COLUMNS, mlmodel_text, save, save_with_code, tensor
from torchkeeper.archive.archiver import ModelArchiverConfig, archive_model
from torchkeeper.handler.mlflow import MLflowHandler
from torchkeeper.testing import MockContext, run_handler
from torchkeeper.wire.messages import Reply

FLAT = [tensor(-1, 3)]
FACTOR = [{"name": "factor", "type": "double", "default": 1.0, "shape": None}]
BODY = {"inputs": [[1, 2, 3]]}


class Times(torch.nn.Linear):
    """Tells what it was called with by its answer."""

    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, x: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        return super().forward(x) * factor


class Centred(torch.nn.Module):
    """Each row's answer depends on the others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


class Total(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, x))


class Pair(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), x


def ask(folder: Path, bodies: list[Any], **spec: Any) -> list[Any]:
    """The answers' JSON, or the failures' status and text, of the folder's archive."""
    config: dict[str, Any] = {"handler": None, "version": None, "from_mlflow": str(folder), "force": True}
    made = archive_model(
        ModelArchiverConfig("m", export_path=str(folder.parent), archive_format="no-archive", **config)
    )
    named = json.loads((made / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    sent = [body if isinstance(body, bytes) else json.dumps(body) for body in bodies]
    found = run_handler(named["handler"], sent, model_dir=made, model=named, **spec)
    return [
        json.loads(one.body) if isinstance(one, Reply) else (one.status, one.cause or one.message)
        for one in found
    ]


def rows_of(answer: Any) -> Any:
    return answer["predictions"]


def test_a_pickled_module_in_training_mode_is_served_for_inference(tmp_path: Path) -> None:
    model = torch.nn.Sequential(Times(), torch.nn.Dropout(0.5)).train()
    (answer,) = ask(save(tmp_path / "saved", model, FLAT), [BODY])
    for found, wanted in zip(
        rows_of(answer), model.eval()(torch.tensor([[1.0, 2, 3]])).tolist(), strict=True
    ):
        assert found == pytest.approx(wanted, rel=1e-5)


def test_a_class_of_the_models_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = save_with_code(tmp_path / "saved", "Owned", COLUMNS)
    (answer,) = ask(folder, [{"dataframe_split": {"columns": list("abc"), "data": [[1, 2, 3]]}}])
    assert [list(row) for row in rows_of(answer)] == [["0", "1"]]


def test_torchscript(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Linear(3, 2)
    (answer,) = ask(save(tmp_path / "saved", torch.jit.script(model), FLAT), [BODY])  # type: ignore[no-untyped-call]
    assert rows_of(answer)[0] == pytest.approx(model(torch.tensor([1.0, 2, 3])).tolist(), rel=1e-5)


@pytest.mark.slow
def test_an_exported_program_with_several_inputs(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, ids: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
            return ids[:, None] + more * 10

    batch = torch.export.Dim("batch")
    example = (torch.arange(2), torch.zeros(2, 2))
    program = torch.export.export(Two(), example, dynamic_shapes=({0: batch}, {0: batch}))
    inputs = [tensor(-1, dtype="int64", name="ids"), tensor(-1, 2, name="more")]
    answers = ask(
        save(tmp_path / "saved", program, inputs),
        [{"inputs": {"more": [[1, 2]], "ids": [5]}}, {"instances": [{"ids": 1, "more": [3, 4]}] * 3}],
    )
    assert [rows_of(answer) for answer in answers] == [[[15, 25]], [[31, 41]] * 3]


def test_requests_of_a_batch_get_what_they_get_alone_and_a_bad_one_fails_alone(tmp_path: Path) -> None:
    model = Times()
    folder = save(tmp_path / "saved", model, FLAT, FACTOR)
    bodies = [
        {"inputs": [[1, 2, 3], [4, 5, 6]]},
        {"inputs": [[1, 2]]},
        {"dataframe_split": {"data": [[7, 8, 9]]}},
        b"{",
        {"inputs": [[1, 2, 3]], "params": {"factor": 2}},
        {"inputs": [[1, 2, 3]], "params": {"factor": "x"}},
        b"a,b,c\n1,2,3\n",
    ]
    found = ask(folder, bodies)
    alone = [ask(folder, [body])[0] for body in bodies]
    assert [one if isinstance(one, dict) else one[0] for one in found] == [
        one if isinstance(one, dict) else one[0] for one in alone
    ]
    assert [one[0] for one in found if isinstance(one, tuple)] == [400] * 4
    assert rows_of(found[0])[1] == pytest.approx(model(torch.tensor([4.0, 5, 6])).tolist(), rel=1e-5)
    assert rows_of(found[4])[0] == pytest.approx([2 * value for value in rows_of(found[0])[0]], rel=1e-5)


def test_rows_that_depend_on_each_other_are_not_computed_together(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", Centred())
    bodies = [{"inputs": [[1.0, 2], [3.0, 6]]}, {"inputs": [[5.0, 5]]}, {"inputs": [[7.0, 9]]}]
    assert [rows_of(one) for one in ask(folder, bodies)] == [
        [[-1.0, -2], [1.0, 2]],
        [[0.0, 0]],
        [[0.0, 0]],
    ]


def test_batches_are_computed_in_one_call_once_that_was_seen_to_be_right(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    torch.save(Times(), tmp_path / "saved" / "model.pth")
    (tmp_path / "saved" / "MLmodel").write_text(mlmodel_text(FLAT))
    handler, context = MLflowHandler(), MockContext("model.pth", tmp_path / "saved", None, gpu_id=None)
    handler.initialize(context)  # type: ignore[arg-type]  # a context's stand-in
    model, sizes = handler.model, []

    def counted(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return model(x)  # type: ignore[no-any-return]

    handler.model = counted
    same = [{"body": {"inputs": [[1, 2, 3]]}}] * 2
    other = [{"body": {"inputs": [[1, 2, 3]]}}, {"body": {"inputs": [[4, 5, 6], [7, 8, 9]]}}]
    first, second, third = (handler.handle(rows, context) for rows in (same, other, other))
    assert sizes == [1, 1, *(1, 2, 3), 3]
    assert first[0] == first[1]
    for found, wanted in zip(third, second, strict=True):
        assert torch.allclose(torch.tensor(rows_of(found)), torch.tensor(rows_of(wanted)))


def test_what_the_model_cannot_compute_fails_that_request_alone(tmp_path: Path) -> None:
    found = ask(save(tmp_path / "saved", Times()), [{"inputs": [[1.0, 2]]}, {"inputs": [[1.0, 2, 3]]}])
    assert found[0][0] == 500
    assert found[0][1].startswith("RuntimeError: mat1 and mat2")
    assert rows_of(found[1])
    (several,) = ask(save(tmp_path / "pair", Pair()), [BODY | {"inputs": [[1.0, 2, 3]]}])
    assert several == (500, several[1])
    assert "the model gives a tuple, and MLflow's protocol takes one tensor" in several[1]


def test_content_types(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", Times(), FLAT)
    csv = {"content-type": "text/csv; charset=utf-8"}
    (answer,) = ask(folder, [b"a,b,c\n1,2,3\n"], headers=csv)
    assert len(rows_of(answer)) == 1
    (refused,) = ask(folder, [b"PAR1"], headers={"content-type": "application/vnd.apache.parquet"})
    assert refused[0] == 415


@pytest.mark.parametrize("envelope", ["json", "kserve"])
def test_an_instance_behind_an_envelope(tmp_path: Path, envelope: str) -> None:
    model = Times()
    (answer,) = ask(
        save(tmp_path / "saved", model, FLAT), [{"instances": [[1, 2, 3], [4, 5, 6]]}], envelope=envelope
    )
    for found, row in zip(rows_of(answer), [[1.0, 2, 3], [4.0, 5, 6]], strict=True):
        assert found == pytest.approx(model(torch.tensor(row)).tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["data", "body"])
def test_inputs_that_have_the_names_of_a_requests_parameters(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / "saved", Times(), [tensor(-1, 3, name=name)])
    (whole,) = ask(folder, [{"inputs": {name: [[1, 2, 3]]}}])
    for envelope in ("json", "kserve"):
        (answer,) = ask(folder, [{"instances": [{name: [1, 2, 3]}]}], envelope=envelope)
        assert answer == whole


@pytest.mark.parametrize("model", [Total, Twice])
def test_an_instance_has_one_prediction(tmp_path: Path, model: type[torch.nn.Module]) -> None:
    folder = save(tmp_path / "saved", model(), FLAT)
    (found,) = ask(folder, [{"instances": [[1, 2, 3]]}], envelope="json")
    assert found[0] == 500
    assert "for one instance" in found[1]


def test_kserve_v2(tmp_path: Path) -> None:
    model = Times()
    folder = save(tmp_path / "saved", model, FLAT)

    def asked(*data: float) -> dict[str, Any]:
        given = {"name": "x", "datatype": "FP32", "shape": [len(data) // 3, len(data) % 3 or 3], "data": data}
        return {"inputs": [given]}

    found = ask(folder, [asked(1, 2, 3, 4, 5, 6), asked(1, 2), asked(7, 8, 9)], envelope="kservev2")
    for answer, rows in ((found[0], [[1.0, 2, 3], [4, 5, 6]]), (found[2], [[7.0, 8, 9]])):
        (output,) = answer["outputs"]
        assert (output["name"], output["shape"]) == ("output0", [len(rows), 2])
        wanted = model(torch.tensor(rows)).flatten().tolist()
        assert output["data"] == pytest.approx(wanted, rel=1e-5)
    assert found[1][0] == 400


def test_a_model_whose_class_is_nowhere_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = save_with_code(tmp_path / "saved", "Lost", FLAT)
    (folder / "code" / "lost_module.py").unlink()
    with pytest.raises(RuntimeError, match=r"needs the module lost_module, which is not here.*code_paths"):
        ask(folder, [BODY])


def test_without_cloudpickle_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    folder = save(tmp_path / "saved", Times(), FLAT)
    with (folder / "data" / "model.pth").open("wb") as file:
        module = type("Inside", (Times,), {"__module__": "__main__"})()
        pickler = type("Module", (), {"Pickler": cloudpickle.CloudPickler, "dumps": cloudpickle.dumps})
        torch.save(module, file, pickle_module=pickler)
    assert rows_of(ask(folder, [BODY])[0])
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    monkeypatch.setitem(sys.modules, "cloudpickle.cloudpickle", None)
    with pytest.raises(RuntimeError, match=r"pip install torchkeeper\[mlflow\]"):
        ask(folder, [BODY])


@pytest.mark.parametrize(
    ("model", "inputs", "why"),
    [
        ({"weight": torch.zeros(1)}, None, "holds a dict, not a torch.nn.Module"),
        (Times(), [tensor(-1, name="a"), tensor(-1, name="b")], "has several inputs"),
        (Times(), [tensor(-1, dtype="str")], "an input of type str"),
    ],
)
def test_models_that_cannot_be_served(tmp_path: Path, model: Any, inputs: Any, why: str) -> None:
    with pytest.raises(RuntimeError, match=why):
        ask(save(tmp_path / "saved", model, inputs), [BODY])


def test_an_archive_that_was_made_by_hand_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"MLmodel.*--from-mlflow"):
        run_handler("mlflow", [b"{}"], model_dir=tmp_path, model={"serializedFile": "model.pth"})
    save(tmp_path / "saved", Times())
    with pytest.raises(RuntimeError, match="names no serialized file"):
        run_handler("mlflow", [b"{}"], model_dir=tmp_path / "saved")
