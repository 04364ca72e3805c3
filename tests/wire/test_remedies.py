"""What helps against exceptions: against real ones where they can be had here, else their texts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchkeeper.wire.remedies import OUT_OF_MEMORY, remedy

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def load(data: bytes, *, weights_only: bool = True) -> Callable[[], Any]:
    return lambda: torch.load(io.BytesIO(data), weights_only=weights_only)


def pickled_elsewhere() -> Any:
    """Loads a whole model whose class has gone since."""
    kind = type("Gone", (nn.Module,), {"__module__": __name__})
    globals()["Gone"] = kind
    data = saved(kind())
    del globals()["Gone"]
    return torch.load(io.BytesIO(data), weights_only=False)


REAL: dict[str, tuple[Callable[[], Any], str]] = {
    "other weights": (
        lambda: nn.Linear(2, 2).load_state_dict({"a": torch.ones(1)}),
        "one and the same model",
    ),
    "a pointer": (load(POINTER), "git lfs pull"),
    "a pointer, unsafe": (load(POINTER, weights_only=False), "git lfs pull"),
    "a page": (load(b"<!DOCTYPE html>"), "not what its name says"),
    "cut off": (load(saved({"x": torch.ones(9)})[:-300]), "cut off"),
    "a whole model": (load(saved(nn.Linear(2, 2))), "torch.save(model.state_dict(), path)"),
    "a class that is gone": (pickled_elsewhere, "--model-file"),
    "other dtype": (lambda: nn.Linear(2, 2)(torch.ones(1, 2, dtype=torch.double)), "dtype"),
    "bytes to a convolution": (
        lambda: nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2, dtype=torch.uint8)),
        "dtype of the weights",
    ),
    "other width": (lambda: nn.Linear(2, 2)(torch.ones(1, 3)), "not the shape"),
    "other channels": (lambda: nn.Conv2d(1, 1, 1)(torch.ones(1, 3, 2, 2)), "not the shape"),
    "other dimensions": (lambda: nn.Conv2d(1, 1, 1)(torch.ones(2, 2)), "not the shape"),
    "unlike rows": (lambda: torch.stack([torch.ones(2), torch.ones(3)]), "one batch"),
    "a long text": (lambda: nn.Embedding(2, 2)(torch.tensor([5])), "truncation=True"),
    "a tensor as JSON": (lambda: json.dumps(torch.ones(2)), "tolist()"),
    "a file": (lambda: Path("no-such-labels.json").read_text(), "--extra-files"),
    "a name": (lambda: exec("from torch.nn import Nope"), "version of that package"),
    "memory": (lambda: bytearray(1 << 62), OUT_OF_MEMORY),
}


@pytest.mark.parametrize("name", REAL)
def test_what_really_is_raised_has_its_remedy(name: str) -> None:
    fails, told = REAL[name]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        fails()
    assert told in remedy(type(caught.value).__name__, str(caught.value)), caught.value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", OUT_OF_MEMORY),
        ("std::bad_alloc", OUT_OF_MEMORY),
        ("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory", OUT_OF_MEMORY),
        ("Torch not compiled with CUDA enabled", "torch.cuda.is_available()"),
        ("CUDA error: no kernel image is available for execution on the device", "for this GPU"),
        ("Expected all tensors to be on the same device, but found cuda:0 and cpu!", "data.to(self.device)"),
        (
            "Input type (torch.FloatTensor) and weight type (torch.cuda.FloatTensor) should be the same",
            "data.to(self.device)",
        ),
        ("Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor)", "data.to(self.device)"),
        ("libGL.so.1: cannot open shared object file: No such file or directory", "opencv-python-headless"),
        ("libcublas.so.12: cannot open shared object file: No such file or directory", "system's package"),
        ("/x/_C.so: undefined symbol: _ZN3c10", "made for this torch"),
        ("A module that was compiled using NumPy 1.x cannot be run in NumPy 2.0.0", "numpy<2"),
        ("[Errno 24] Too many open files", "ulimit -n"),
        ("[Errno 28] No space left on device: '/tmp/x'", "TMPDIR"),
        ("[Errno 13] Permission denied: '/opt/x'", "tempfile.gettempdir()"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error.", "--shm-size"),
        ("We couldn't connect to 'https://huggingface.co' to load this file", "--extra-files"),
    ],
)
def test_texts_of_other_machines_have_their_remedies(text: str, told: str) -> None:
    assert told in remedy("RuntimeError", text)


@pytest.mark.parametrize(
    "text", ["", "x", "'NoneType' object is not subscriptable", "Expecting value: line 1"]
)
def test_faults_of_which_nothing_is_known_have_none(text: str) -> None:
    assert remedy("ValueError", text) == ""
