"""Weights of archives are mapped by all workers of a version; of the user's own folders nothing is."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import EXAMPLE, Server, eventually, mnist_server  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

WEIGHTS = "mnist_cnn.pt"
DIGIT = (EXAMPLE / "test_data" / "3.png").read_bytes()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The MNIST example as the archive `mnist`, with two workers, and as the folder `plain`."""
    server = mnist_server(tmp_path, "minWorkers: 2\nmaxWorkers: 2\n", enable_model_api="true")
    with zipfile.ZipFile(tmp_path / "model_store" / "mnist.mar") as archive:
        archive.extractall(tmp_path / "model_store" / "plain")
    yield server
    if server.process.poll() is None:
        server.stop()


def register(server: Server, name: str, url: str) -> list[int]:
    """Registers a model; its workers' ids."""
    query = {"url": url, "model_name": name, "initial_workers": 2, "synchronous": "true"}
    assert server.manage.post("/models", params=query).status_code == 200
    return workers(server, name)


def workers(server: Server, name: str) -> list[int]:
    """The process ids of a model's two workers, once both are ready."""
    found: list[dict[str, Any]] = []

    def both_are_ready() -> bool:
        found[:] = server.manage.get(f"/models/{name}").json()[0]["workers"]
        return [worker["status"] for worker in found] == ["READY", "READY"]

    eventually(both_are_ready)
    return [worker["pid"] for worker in found]


def mapped(pid: int) -> set[str]:
    """The files of weights that a process has in its memory."""
    return set(re.findall(rf"/\S*{WEIGHTS}", Path(f"/proc/{pid}/maps").read_text()))


def digit(server: Server, name: str) -> str:
    answer = server.client.post(f"/predictions/{name}", content=DIGIT)
    assert answer.status_code == 200
    return str(answer.text)


def test_the_workers_of_a_version_have_one_file_and_it_goes_with_them(server: Server) -> None:
    (first,), (second,) = (mapped(pid) for pid in workers(server, "mnist"))
    assert first == second
    assert Path(first).is_relative_to(server.temp)
    assert digit(server, "mnist") == "3"
    pids = register(server, "again", "mnist.mar")
    (other,) = {path for pid in pids for path in mapped(pid)}
    assert other != first
    assert server.manage.delete("/models/again").status_code == 200
    assert not Path(other).exists()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert digit(server, "mnist") == "3"


def test_a_folder_of_the_store_may_change_while_it_is_served(server: Server) -> None:
    pids = register(server, "plain", "plain")
    assert not any(map(mapped, pids))
    (server.folder / "model_store" / "plain" / WEIGHTS).write_bytes(b"")  # whoever mapped it would crash
    assert digit(server, "plain") == "3"
    shutil.rmtree(server.folder / "model_store" / "plain")
    assert digit(server, "plain") == "3"
    assert workers(server, "plain") == pids
