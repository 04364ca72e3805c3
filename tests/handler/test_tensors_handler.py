"""Named tensors in, named tensors out: through the loader and the envelopes, as in a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exports import (
    Rows,
    Series,
    Tokens,
    packaged,
    rows_program,
    saved,
    series_program,
    sum_program,
    tokens_program,
)
from torchkeeper.testing import run_handler
from torchkeeper.wire.messages import Failure, Kind, Reply
from torchkeeper.wire.raw_tensors import LENGTH_HEADER

pytestmark = pytest.mark.slow


def ask(folder: Path, requests: list[Any], **spec: Any) -> list[Any]:
    """The answers' JSON, or the failures' status and message."""
    bodies = [request if isinstance(request, bytes) else json.dumps(request) for request in requests]
    found = run_handler("tensors", bodies, model_dir=folder, model={"serializedFile": "m.pt2"}, **spec)
    return [
        json.loads(one.body) if isinstance(one, Reply) else (one.status, one.cause or one.message)
        for one in found
    ]


def tensor(name: str, value: Any, datatype: str = "FP32") -> dict[str, Any]:
    array = np.asarray(value)
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.tolist()}


def infer(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


def outputs(answer: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: np.reshape(one["data"], one["shape"]) for one in answer["outputs"]}


def test_requests_of_a_batch_get_what_they_get_alone(tmp_path: Path) -> None:
    saved(rows_program(1, 8), tmp_path / "m.pt2")
    given = [torch.randn(count, 4) for count in (1, 3, 20)]
    found = ask(tmp_path, [infer(tensor("x", x.numpy())) for x in given], envelope="kservev2")
    for x, answer in zip(given, found, strict=True):
        np.testing.assert_allclose(outputs(answer)["output0"], Rows()(x).detach().numpy(), 1e-5, 1e-6)
        assert answer["outputs"][0]["datatype"] == "FP32"


def test_several_inputs_and_outputs_by_name_and_the_failure_of_one_request(tmp_path: Path) -> None:
    saved(tokens_program(), tmp_path / "m.pt2")
    given = [np.array([[1, 2, 3]]), np.array([[4, 5, 99]]), np.array([[6, 7], [8, 9]]), np.array([[1, 2, 9]])]
    requests = [
        infer(tensor("mask", np.ones_like(ids, dtype=bool), "BOOL"), tensor("ids", ids, "INT64"))
        for ids in given
    ]
    requests[2]["outputs"] = [{"name": "per_token"}]
    found = ask(tmp_path, requests)
    for place in (0, 2, 3):
        ids = torch.from_numpy(given[place])
        expected = Tokens()(ids, torch.ones_like(ids, dtype=torch.bool))
        names = ["per_token"] if place == 2 else ["sum", "per_token"]
        assert list(outputs(found[place])) == names
        for name in names:
            np.testing.assert_allclose(
                outputs(found[place])[name], expected[name].detach().numpy(), 1e-5, 1e-6
            )
    assert found[1][0] == 500
    assert "IndexError" in found[1][1]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (infer(tensor("y", [[1] * 4])), "the model takes the inputs x; the request has y"),
        (infer(tensor("x", [[1] * 4]), tensor("x", [[1] * 4])), "two inputs are named 'x'"),
        (infer(tensor("x", [[1] * 4], "FP64")), "input 'x': datatype FP64 is not FP32"),
        (infer({**tensor("x", []), "shape": [1], "datatype": "BYTES", "data": ["a"]}), "BYTES is not FP32"),
        (infer(tensor("x", [[1] * 5])), r"input 'x': shape [1, 5] is not [1.., 4]"),
        (infer(tensor("x", [1] * 4)), r"input 'x': shape [4] is not [1.., 4]"),
        (infer(tensor("x", np.zeros((0, 4)))), r"input 'x': shape [0, 4] is not [1.., 4]"),
        (infer(tensor("x", [[1] * 4]), outputs=[{"name": "z"}]), "no output is named 'z'; there are output0"),
        ({"inputs": []}, 'the body must have "inputs"'),
    ],
)
def test_what_the_model_does_not_take_is_that_requests_error(
    tmp_path: Path, request_: dict[str, Any], text: str
) -> None:
    saved(rows_program(1, 8), tmp_path / "m.pt2")
    good = infer(tensor("x", [[1, 2, 3, 4]]))
    wrong, right = ask(tmp_path, [request_, good], envelope="kservev2")
    assert text in wrong[1]
    np.testing.assert_allclose(
        outputs(right)["output0"], Rows()(torch.tensor([[1.0, 2, 3, 4]])).detach().numpy(), 1e-5, 1e-6
    )


def test_rows_that_depend_on_each_other_are_never_joined_nor_cut(tmp_path: Path) -> None:
    saved(series_program(), tmp_path / "m.pt2")
    given = [torch.randn(count, 2) for count in (2, 2, 5, 65)]
    found = ask(tmp_path, [infer(tensor("x", x.numpy())) for x in given])
    for x, answer in zip(given[:3], found[:3], strict=True):
        np.testing.assert_allclose(outputs(answer)["output0"], Series()(x).numpy(), 1e-4, 1e-5)
    assert "shape [65, 2] is not [1..64, 2]" in found[3][1]


def test_raw_tensors_and_bfloat16(tmp_path: Path) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    saved(torch.export.export(Twice(), (torch.ones(2, dtype=torch.bfloat16),)), tmp_path / "m.pt2")
    raw = np.array([1.5, -3], "<f4").view("<u4") >> 16
    head = json.dumps(
        infer({"name": "x", "datatype": "BF16", "shape": [2], "parameters": {"binary_data_size": 4}})
    ).encode()
    (answer,) = ask(tmp_path, [head + raw.astype("<u2").tobytes()], headers={LENGTH_HEADER: str(len(head))})
    assert outputs(answer)["output0"].tolist() == [3, -6]


def test_instances_of_kserves_first_protocol(tmp_path: Path) -> None:
    saved(tokens_program(), tmp_path / "m.pt2")
    ids = [[1, 2, 3], [4, 5, 6]]
    instances = [{"ids": one, "mask": [True, True, False]} for one in ids]
    (answer,) = ask(tmp_path, [{"instances": instances}], envelope="kserve")
    expected = Tokens()(torch.tensor(ids), torch.tensor([[True, True, False]] * 2))
    for place, found in enumerate(answer["predictions"]):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name][place].detach().numpy(), 1e-5, 1e-6)
    (wrong,) = ask(tmp_path, [{"instances": [{"ids": [1.5], "mask": [True]}]}], envelope="kserve")
    assert wrong == (503, "input 'ids' has numbers that are no INT64")


def test_an_only_input_and_output_need_no_names_there(tmp_path: Path) -> None:
    saved(rows_program(), tmp_path / "m.pt2")
    (answer,) = ask(tmp_path, [{"instances": [[1, 2, 3, 4]]}], envelope="json")
    expected = Rows()(torch.tensor([[1.0, 2, 3, 4]])).detach().numpy()
    np.testing.assert_allclose(answer["predictions"], expected, 1e-5, 1e-6)


def test_inputs_of_unlike_rows_are_not_computed_though_the_package_names_no_sizes(tmp_path: Path) -> None:
    packaged(sum_program(), tmp_path / "m.pt2")
    first, second, good = ask(
        tmp_path,
        [
            infer(tensor("input0", np.ones((one, 4))), tensor("input1", np.ones((other, 4))))
            for one, other in ((3, 1), (1, 3), (2, 2))
        ],
    )
    assert "dimension 0 of input1 is 1 and dimension 0 of input0 is 3; they must be equal" in first[1]
    assert "dimension 0 of input1 is 3 and dimension 0 of input0 is 1; they must be equal" in second[1]
    assert outputs(good)["output0"].tolist() == [[3] * 4] * 2


def test_models_that_do_not_say_what_they_take_are_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Rows()), tmp_path / "m.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="the handler 'tensors' serves models whose file says"):
        run_handler("tensors", [], model_dir=tmp_path, model={"serializedFile": "m.pt"})


def test_explanations_are_not_there(tmp_path: Path) -> None:
    saved(rows_program(), tmp_path / "m.pt2")
    body = json.dumps(infer(tensor("x", [[1] * 4])))
    (found,) = run_handler(
        "tensors", [body], model_dir=tmp_path, model={"serializedFile": "m.pt2"}, kind=Kind.EXPLAIN
    )
    assert isinstance(found, Failure)
    assert (found.status, "cannot explain" in str(found)) == (501, True)
