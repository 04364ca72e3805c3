"""`execution.compile` in real: a model that is compiled while it warms up, by itself and on a server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exports import needs_compiler
from servers import EXAMPLE, compiled_mnist_server, mnist_server

pytestmark = pytest.mark.slow

#: What torch.compile does is the process's: each of these runs in one of its own, and prints JSON.
PREPARED = """
import json, logging, os, sys
from pathlib import Path
import torch
from torchkeeper.handler.compile_cache import CompileCache
from torchkeeper.handler.compiling import NotCompiled
from torchkeeper.handler.just_in_time import JustInTime, warmed

torch.set_num_threads(1)
torch.manual_seed(3)
logging.basicConfig(stream=sys.stderr)

class Branches(torch.nn.Module):
    # Does what its input's values say, which cannot be exported.
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)
    def forward(self, x, scale=1.0):
        y = self.first(x)
        if x.sum() > 0:
            y = torch.relu(y)
        return {"y": self.second(y) * scale}

model = Branches().eval()
folder = Path(sys.argv[1])

def made(cache=None, key=None, mode="default", dynamic=None, sizes=(1, 2, 8)):
    compiled = JustInTime(model, mode, dynamic)
    def warm():
        with torch.inference_mode():
            for rows in sizes:
                for sign in (1, -1):
                    compiled(sign * torch.ones(rows, 4))
    warmed([compiled], warm, cache, key)
    return compiled
"""


def ran(tmp_path: Path, text: str, **environ: str) -> Any:
    needs_compiler()
    (tmp_path / "temp").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", PREPARED + text, tmp_path],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path / "temp"), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "temp").iterdir())
    return json.loads(done.stdout), done.stderr


def test_per_call_options_do_not_freeze_and_the_process_wide_setting_does(tmp_path: Path) -> None:
    """Were this to change in torch, freezing could be a call's."""
    change = """
def changed(**how):
    torch.compiler.reset()
    layer = torch.nn.Linear(4, 2)
    compiled = torch.compile(layer, **how)
    with torch.inference_mode():
        before = compiled(torch.ones(2, 4))
        layer.weight.data.add_(1)
        return not torch.equal(before, compiled(torch.ones(2, 4)))
import os
os.environ["TORCHINDUCTOR_CACHE_DIR"] = sys.argv[1] + "/code"
torch._inductor.config.cpp_cache_precompile_headers = False  # whose folder is in the temp folder
by_call = changed(options={"freezing": True})
torch._inductor.config.freezing = True
print(json.dumps([by_call, changed()]))
"""
    found, _ = ran(tmp_path, change)
    assert found == [True, False]


def test_what_does_not_export_is_compiled_and_no_call_compiles_afterwards(tmp_path: Path) -> None:
    text = """
compiled = made()
from torch._dynamo.utils import counters  # only now: to import it makes a folder, which made() puts elsewhere
graphs = counters["stats"]["unique_graphs"]
counts, agree = [(compiled.served, compiled.others)], True
with torch.inference_mode():
    for x, scale in (
        (torch.rand(3, 4), 1.0), (-torch.rand(8, 4), 1.0), (torch.rand(100, 4), 1.0),
        (torch.rand(2, 3, 4), 1.0), (torch.rand(2, 4), 2.0), (torch.rand(2, 4).double().float(), 1.0),
    ):
        expected = model(x, scale)["y"]
        agree &= torch.allclose(compiled(x, scale)["y"], expected, rtol=1e-3, atol=1e-4)
        counts.append((compiled.served, compiled.others))
print(json.dumps([agree, counts, graphs, counters["stats"]["unique_graphs"]]))
"""
    (agree, counts, before, after), said = ran(tmp_path, text)
    assert agree
    assert 0 < before == after
    assert counts == [[6, 0], [7, 0], [8, 0], [9, 0], [9, 1], [9, 2], [10, 2]]
    assert said.count("runs uncompiled") == 1


def test_what_is_kept_is_compiled_once(tmp_path: Path) -> None:
    text = """
made(CompileCache(folder / "cache", folder / "nothing"), "a" * 64)
print(json.dumps(0))
"""
    _, first = ran(tmp_path, text)
    (kept,) = (tmp_path / "cache").rglob("objects.zip")
    before = kept.read_bytes()
    _, second = ran(tmp_path, text)
    assert kept.read_bytes() == before
    kept.write_bytes(b"no zip")
    kept.with_name("objects.zip.sha256").write_text(hashlib.sha256(b"no zip").hexdigest())
    _, third = ran(tmp_path, text)
    assert "is of no use, and is made anew" in third
    assert "is of no use" not in first + second


#: What cannot be compiled, and the reason that is told.
REFUSED = """
class Wrong(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def forward(self, x):
        y = torch.relu(self.layer(x)).sum()
        return y + torch.compiler.is_compiling()

def refused(wrong):
    compiled = JustInTime(wrong, "default", None)
    def warm():
        with torch.inference_mode():
            try:
                compiled(torch.ones(2, 4))
            except Exception:
                pass  # a handler that answers whatever happens
    try:
        warmed([compiled], warm, None, None)
    except NotCompiled as error:
        return str(error)

path, os.environ["PATH"] = os.environ["PATH"], str(folder)
told = [refused(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))]
os.environ["PATH"] = path
print(json.dumps([*told, refused(Wrong())]))
"""


def test_what_cannot_be_compiled_is_refused_with_the_reason(tmp_path: Path) -> None:
    (no_compiler, differs), _ = ran(tmp_path, REFUSED)
    assert differs == "compiled it computes something else for the samples: a difference of 1"
    assert "No working C++ compiler found" in no_compiler


def test_a_handlers_model_keeps_its_gradients_and_may_not_change_its_weights(tmp_path: Path) -> None:
    text = """
from torchkeeper.handler.context import Context
from torchkeeper.handler.execution import apply
from torchkeeper.wire.execution import Compile, Execution

class Handler:
    pass

def gradient():
    x = torch.ones(2, 4, requires_grad=True)
    model(x)["y"].sum().backward()
    return x.grad

handler, before = Handler(), gradient()
handler.model = model
applied = apply(Execution(compile=Compile()), handler, Context("m", "/", {}, 2, None, "0.12.0"))

def warm():
    with torch.inference_mode():
        for rows in (1, 2):
            model(torch.ones(rows, 4))

warm()
applied.warmed_by(warm)
applied.check_used()
same = torch.equal(before, gradient())
with torch.no_grad():
    model.first.weight.add_(1)
try:
    warm()
except RuntimeError as error:
    print(json.dumps([same, applied.said, applied.uncompiled, str(error)]))
"""
    (same, said, uncompiled, refused), _ = ran(tmp_path, text)
    assert same
    assert (said, uncompiled) == ({"compile": {"mode": "default", "dynamic": None}}, 0)
    assert "the model's weights were changed after it was loaded" in refused


def test_digits_on_a_server(tmp_path: Path) -> None:
    needs_compiler()
    server = compiled_mnist_server(tmp_path, "compile: true")
    (told,) = server.manage.get("/models/mnist").json()
    assert told["execution"]["compile"] == {"mode": "default", "dynamic": None}
    assert told["execution"]["warmup"]["batches"] == [1, 2, 4]
    assert told["execution"]["uncompiledCalls"] == 0
    assert "runs uncompiled" not in server.output
    picture = (EXAMPLE / "test_data" / "3.png").read_bytes()
    explained = server.client.put("/explanations/mnist", content=picture).json()
    assert any(any(row) for row in explained[0])
    (told,) = server.manage.get("/models/mnist").json()
    assert told["execution"]["uncompiledCalls"] == 0, "explanations are the eager model's"
    # Both models are of one archive: the worker of one has compiled, that of the other has waited for it.
    server.wait_for(r"Compiled code was kept: (\w+)")
    assert server.output.count("Compiled code is kept: ") == 1
    server.stop()


def test_without_a_sample_it_is_refused(tmp_path: Path) -> None:
    server = mnist_server(tmp_path, "execution: {compile: true}\n", default_workers_per_model=1)
    server.wait_for(r"execution\.compile needs a sample: name files of the archive in execution\.warmup")
    server.stop()
