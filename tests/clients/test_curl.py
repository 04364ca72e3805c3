"""The commands of docs/protocols.md, run as they stand but for the port."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asked import IDLE, PATIENCE, digits  # type: ignore[import-not-found]  # pytest puts this folder on the path

from servers import Server
from tools import unavailable

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "protocols.md").read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("curl") is None:
        unavailable("curl is not installed")
    with digits(tmp_path_factory.mktemp("mnist")) as running:
        yield running


def run(server: Server, command: str) -> tuple[int, Any]:
    """curl's exit status, and the JSON that it printed."""
    assert command.count("127.0.0.1:8080") == 1
    there = command.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    done = subprocess.run(["bash", "-c", there], cwd=ROOT, capture_output=True, timeout=PATIENCE)
    return done.returncode, json.loads(done.stdout)


def read(answer: Any) -> list[int]:
    """The digits in an answer of either version."""
    if "predictions" in answer:
        return list(answer["predictions"])
    return [digit for output in answer["outputs"] for digit in output["data"]]


def test_the_page_has_a_command_of_each_version() -> None:
    first, second = COMMANDS
    assert "/v1/models/mnist:predict" in first
    assert "/v2/models/mnist/infer" in second


@pytest.mark.parametrize("command", COMMANDS, ids=["v1", "v2"])
def test_digits(server: Server, command: str) -> None:
    assert command.count("/2.png") == 1
    for digit in range(10):
        status, answer = run(server, command.replace("/2.png", f"/{digit}.png"))
        assert (status, read(answer)) == (0, [digit])


@pytest.mark.parametrize("command", COMMANDS, ids=["v1", "v2"])
def test_errors(server: Server, command: str) -> None:
    """curl's own error, with the server's words on its output."""
    failing = command.replace("curl ", "curl --fail-with-body ")
    for model, said in (("unknown", "Model not found: unknown"), (IDLE, f'Model "{IDLE}" has no worker')):
        status, answer = run(server, failing.replace("/models/mnist", f"/models/{model}"))
        assert (status, said in answer["error"]) == (22, True), answer
    status, answer = run(server, failing.replace("test_data/2.png", "mnist.py"))
    assert (status, "no picture that Pillow can read" in answer["error"]) == (22, True), answer
