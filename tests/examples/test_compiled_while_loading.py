"""`execution.aot` in real: a model that is compiled while it loads, by itself and on a server."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exports import needs_compiler
from servers import EXAMPLE, Server, compiled_mnist_server, mnist_server
from torchkeeper.handler.aot import AheadOfTime

pytestmark = pytest.mark.slow


class Scaled(torch.nn.Module):
    """Options beside tensors, a dict for an answer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.last = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, scale: float = 1.0, *, mask: torch.Tensor) -> dict[str, Any]:
        return {"y": self.last(x) * scale * mask}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scaled, AheadOfTime]:
    """The model, and the same compiled from a call with one row; nothing is left in the temp folder."""
    needs_compiler()
    folder = tmp_path_factory.mktemp("temp")
    model = Scaled().eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("TMPDIR", str(folder))  # of the process that compiles
        compiled = AheadOfTime(model, (torch.rand(1, 4), 2.0), {"mask": torch.ones(1, 1)})
    assert not list(folder.iterdir())
    return model, compiled


@pytest.mark.parametrize("rows", [1, 2, 3, 40])
def test_batches_of_every_size_are_computed_as_compiled(made: tuple[Scaled, AheadOfTime], rows: int) -> None:
    model, compiled = made
    x, mask = torch.rand(rows, 4), torch.rand(rows, 1)
    before = compiled.served, compiled.others
    with torch.inference_mode():
        found = compiled(x, 2.0, mask=mask)
        torch.testing.assert_close(found["y"], model(x, 2.0, mask=mask)["y"])
    assert (compiled.served, compiled.others) == (before[0] + 1, before[1])


@pytest.mark.parametrize(
    ("args", "mask"),
    [
        ((torch.rand(2, 4), 3.0), torch.rand(2, 1)),
        ((torch.rand(2, 4),), torch.rand(2, 1)),
        ((torch.rand(2, 4), 2.0), torch.rand(2, 3)),
        ((torch.rand(4), 2.0), torch.rand(3)),
        ((torch.rand(2, 4), 2), torch.rand(2, 1)),
    ],
    ids=["another option", "another form", "another shape", "no rows", "another type"],
)
def test_calls_unlike_the_samples_are_computed_uncompiled_and_told_of_once(
    made: tuple[Scaled, AheadOfTime], args: Any, mask: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    model, compiled = made
    before = compiled.served, compiled.others
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        found = compiled(*args, mask=mask)
        assert torch.equal(found["y"], model(*args, mask=mask)["y"])
    assert (compiled.served, compiled.others) == (before[0], before[1] + 1)
    assert len([one for one in caplog.records if "runs uncompiled" in one.message]) == int(before[1] == 0)


def test_digits_on_a_server(tmp_path: Path) -> None:
    needs_compiler()
    server = compiled_mnist_server(tmp_path, "aot: true")
    (told,) = server.manage.get("/models/mnist").json()
    assert told["execution"]["aot"] is True
    assert told["execution"]["warmup"]["batches"] == [1, 2, 4]
    picture = (EXAMPLE / "test_data" / "3.png").read_bytes()
    explained = np.array(server.client.put("/explanations/mnist", content=picture).json())
    assert explained.shape == (1, 28, 28)
    assert explained.any()
    assert "runs uncompiled" not in server.output
    # Both models are of one archive: the worker of one has compiled, that of the other has waited for it.
    server.wait_for(r"Compiled code was kept: (\w+)")
    assert server.output.count("Compiled code is kept: ") == 1
    server.stop()
    (package,) = (tmp_path / "cache").rglob("package.pt2")
    content = bytearray(package.read_bytes())
    content[len(content) // 2] ^= 0xFF
    package.write_bytes(content)
    again = Server(tmp_path, ("mnist=mnist.mar",), {"default_workers_per_model": 1})
    again.wait_for(r"Compiled code that was kept is damaged, and is made anew")
    again.wait_for(r"Compiled code is kept: ")
    again.client.timeout = 600
    assert again.client.put("/predictions/mnist", content=picture).text == "3"
    again.stop()


def test_without_a_sample_it_is_refused(tmp_path: Path) -> None:
    server = mnist_server(tmp_path, "execution: {aot: true}\n", default_workers_per_model=1)
    server.wait_for(r"execution\.aot needs a sample: name files of the archive in execution\.warmup")
    server.stop()
