"""The scanner says what torch's weights-only unpickler does, without torch and without unpickling."""

from __future__ import annotations

import os
import pickle
import tarfile
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._weights_only_unpickler import _get_allowed_globals

from torchkeeper.doctor.pickles import _ALLOWED, PickleKind, pickled_names, scan_file


class Evil:
    """Would run a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, ("false",)


OBJECTS: dict[str, Any] = {
    "a state dict": torch.nn.Linear(2, 3).state_dict(),
    "parameters": {"w": torch.nn.Parameter(torch.zeros(2))},
    "dtypes": [torch.zeros(1, dtype=t) for t in (torch.bfloat16, torch.float16, torch.int64, torch.bool)],
    "a checkpoint": {
        "epoch": 3,
        "loss": 0.5,
        "state": OrderedDict(a=torch.zeros(1)),
        "note": "ä",
        "none": None,
    },
    "containers": [(1, 2, 3, 4), {1, 2}, Counter("abca"), 1 + 2j, b"bytes", bytearray(b"x"), 10**12, True],
    "facts of tensors": [torch.float32, torch.Size([1]), torch.device("cpu")],
    "a sparse tensor": torch.eye(3).to_sparse(),
    "a whole model": torch.nn.Linear(2, 3),
    "numpy": {"mean": np.zeros(3)},
    "a number of numpy's": np.float64(1.5),
    "a date": date(2026, 1, 1),
    "a path": Path("x"),
    "a function": len,
    "a command": Evil(),
    "a command among weights": {"w": torch.zeros(2), "x": Evil()},
}


def torch_reads(path: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(path, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize(
    "form",
    [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}],
    ids=["zip", "legacy", "4"],
)
def test_it_agrees_with_torch(tmp_path: Path, name: str, form: dict[str, Any]) -> None:
    path = tmp_path / "w.pt"
    torch.save(OBJECTS[name], path, **form)
    scan = scan_file(path)
    assert scan.kind in (PickleKind.WEIGHTS, PickleKind.REFUSED)
    assert (scan.kind is PickleKind.WEIGHTS) == torch_reads(path), scan.why


def test_everything_that_torch_allows_is_allowed() -> None:
    assert not [name for name in _get_allowed_globals() if not _ALLOWED.fullmatch(name)]


@pytest.mark.parametrize(
    "name",
    ["torch.load", "torch.hub.load", "torch.float_power", "torch.nn.Linear", "os.system", "builtins.eval"],
)
def test_what_is_not_data_is_not_allowed(name: str) -> None:
    assert not _ALLOWED.fullmatch(name)


def test_the_reason_names_what_is_not_allowed(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2), "x": Evil(), "y": date(2026, 1, 1)}, tmp_path / "w.pt")
    assert scan_file(tmp_path / "w.pt").why == f"it holds {os.system.__module__}.system, datetime.date"


def test_torchscript(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 3)).save(tmp_path / "w.pt")
    assert scan_file(tmp_path / "w.pt").kind is PickleKind.TORCHSCRIPT


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x80\x02", pickle.dumps([1]), b"PK\x03\x04", b"\x00" * 100]
)
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    assert scan_file(tmp_path / "w.pt").kind is PickleKind.OTHER


def test_a_zip_file_with_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(tmp_path / "named.zip", "w") as archive:
        archive.writestr("\u00e4.pkl", b"")  # a name in UTF-8, which its flags say
    damaged = (tmp_path / "named.zip").read_bytes().replace("\u00e4".encode(), b"\xff\xff")
    path.write_bytes(damaged)
    scan = scan_file(path)
    assert scan.kind is PickleKind.OTHER
    assert scan.why.startswith("it cannot be read: ")
    named = pickled_names(path)
    assert named is not None
    assert named.beyond.startswith("it cannot be read to its end: ")


@pytest.mark.parametrize("form", [True, False], ids=["zip", "legacy"])
def test_damaged_files_are_survived(tmp_path: Path, form: bool) -> None:
    path = tmp_path / "w.pt"
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=form)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        scan_file(path)


def test_the_oldest_form_and_safetensors(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(b"")
    with tarfile.open(tmp_path / "w.pt", "w") as archive:
        archive.add(tmp_path / "pickle", "pickle")
    assert scan_file(tmp_path / "w.pt").kind is PickleKind.REFUSED
    assert scan_file(tmp_path / "w.safetensors").kind is PickleKind.WEIGHTS
