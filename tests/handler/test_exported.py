"""Exported programs: what they take is read from the file, and each batch gets the eager model's values."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from exports import Rows, Tokens, library, packaged, rows_program, saved, sum_program, tokens_program
from torchkeeper.handler.exported import read_pt2
from torchkeeper.handler.ports import Port, Size
from torchkeeper.handler.weights import load_whole
from torchkeeper.wire.messages import Signature, TensorSpec

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.mark.parametrize(("low", "high"), [(1, 8), (2, 64), (1, 1), (3, 3)])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_batches_within_and_beyond_the_exported_bound(
    tmp_path: Path, low: int, high: int, count: int
) -> None:
    model = load_whole(saved(rows_program(low, high), tmp_path / "m.pt2"), CPU)
    x = torch.randn(count, 4)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), Rows()(x))


def test_names_shapes_and_datatypes_come_from_the_file(tmp_path: Path) -> None:
    model = read_pt2(saved(tokens_program(), tmp_path / "m.pt2"), CPU)
    assert model.signature == Signature(
        (TensorSpec("ids", "INT64", (-1, -1)), TensorSpec("mask", "BOOL", (-1, -1))),
        (TensorSpec("sum", "FP32", (-1, 3)), TensorSpec("per_token", "FP32", (-1, -1))),
    )
    assert model.batch is not None
    assert (model.batch.low, model.batch.high) == (1, 16)
    ids, mask = torch.randint(0, 10, (20, 5)), torch.rand(20, 5) > 0.5
    found, expected = model(ids, mask=mask), Tokens()(ids, mask)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_constants_among_the_arguments_are_the_models_own(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor, factor: int, pair: tuple[torch.Tensor, torch.Tensor]) -> Any:
            return x * factor, pair[0] + pair[1]

    x = torch.ones(2)
    program = torch.export.export(Scaled(), (x, 3, (x + 1, x + 2)))
    model = read_pt2(saved(program, tmp_path / "m.pt2"), CPU)
    assert [port.name for port in model.inputs] == ["x", "pair_0", "pair_1"]
    first, second = model(x, x, 2 * x)
    assert (first.tolist(), second.tolist()) == ([3, 3], [3, 3])


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"no zip")
    with pytest.raises(RuntimeError, match=r"m\.pt2 is no \.pt2 file"):
        read_pt2(path, CPU)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/other", "x")
    with pytest.raises(RuntimeError, match=r"m\.pt2 is no exported program .*torch\.export\.save"):
        read_pt2(path, CPU)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data/aotinductor/model/x.wrapper_metadata.json", '{"AOTI_DEVICE_KEY": "cuda"}')
    with pytest.raises(RuntimeError, match="compiled for cuda, and this worker computes on cpu"):
        read_pt2(path, CPU)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data/aotinductor/model/x.wrapper_metadata.json", "damaged")
    with pytest.raises(RuntimeError, match=r"m\.pt2 cannot be loaded"):
        read_pt2(path, CPU)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages by name; made once, as compiling takes long."""
    folder = tmp_path_factory.mktemp("packages")
    return {
        "rows": packaged(rows_program(2, 8), folder / "rows.pt2"),
        "tokens": packaged(tokens_program(), folder / "tokens.pt2"),
    }


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_packages_are_served_in_batches_of_any_size(
    packages: dict[str, Path], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    model = read_pt2(packages["rows"], CPU)
    batch, _ = sizes = model.inputs[0].sizes or ()
    assert sizes == (Size(2, 8, batch.symbol), Size(4, 4))
    x = torch.randn(4, count).t()  # not contiguous
    torch.testing.assert_close(model(x), Rows()(x).detach())
    assert not list(tmp_path.iterdir()), "folders left behind"


def test_a_package_without_its_source_checks_its_inputs_itself(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "rows.pt2"
    with zipfile.ZipFile(packages["rows"]) as whole, zipfile.ZipFile(path, "w") as bare:
        for name in whole.namelist():
            if not name.endswith(".cpp"):
                bare.writestr(name, whole.read(name))
    model = read_pt2(path, CPU)
    assert model.inputs == (Port("input0"),)
    x = torch.randn(5, 4)
    torch.testing.assert_close(model(x), Rows()(x).detach())
    with pytest.raises(RuntimeError, match="dim value is too large"):
        model(torch.randn(9, 4))


def test_a_packages_inputs_are_read_from_its_checks(packages: dict[str, Path]) -> None:
    model = read_pt2(packages["tokens"], CPU)
    ids_port, mask_port = model.inputs
    sizes = ids_port.sizes
    assert ids_port == Port("input0", "INT64", sizes)
    assert mask_port == Port("input1", "BOOL", sizes)
    assert [replace(size, symbol=None) for size in sizes or ()] == [Size(1, 16), Size(2, 32)]
    assert [port.name for port in model.outputs] == ["sum", "per_token"]
    ids, mask = torch.randint(0, 10, (20, 5)), torch.rand(20, 5) > 0.5
    for name, value in Tokens()(ids, mask).items():
        torch.testing.assert_close(model(ids, mask)[name], value.detach())
    with pytest.raises(ValueError, match=r"input input1: shape \[2, 33\] is not \[1..16, 2..32\]"):
        model(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 33, dtype=torch.bool))


def test_compiled_code_never_gets_inputs_of_unlike_rows(tmp_path: Path) -> None:
    """Its own assertions are a setting of the compiler, and new; without them it reads foreign memory."""
    with torch._inductor.config.patch(size_asserts=False):
        model = read_pt2(packaged(sum_program(), tmp_path / "sum.pt2"), CPU)
    assert model(torch.ones(2, 4), torch.ones(2, 4)).tolist() == [[3] * 4] * 2
    for rows, others in ((8, 1), (1, 8)):
        with pytest.raises(ValueError, match=f"dimension 0 of input1 is {others} and .* of input0 is {rows}"):
            model(torch.ones(rows, 4), torch.ones(others, 4))


def test_libraries_from_before_packages_are_served_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = library(rows_program(2, 8), torch.randn(2, 4), tmp_path / "m.so")
    model = load_whole(path, CPU)
    assert "m.so is a library of torch._export.aot_compile, which PyTorch has deprecated" in caplog.text
    for rows in (5, 1, 9):  # it was compiled for 2 to 8
        x = torch.randn(rows, 4)
        torch.testing.assert_close(model(x), Rows()(x).detach())
    with pytest.raises(RuntimeError, match="unmatched dim value at 1"):
        model(torch.randn(2, 5))
