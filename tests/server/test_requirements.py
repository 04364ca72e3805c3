"""A model's own packages on a real server: installed beside it or into its own environment, or refused."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import BIN, Server  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

HANDLER = """
import sys

def handle(data, context):
    if data is None:
        return None
    import only_here
    import torchkeeper
    return [f"{only_here.WORD} {sys.prefix != sys.base_prefix} {sys.prefix}"] * len(data)
"""


def make_wheel(folder: Path) -> Path:
    """A package that no index has, as a wheel: the smallest that pip takes."""
    wheel = folder / "only_here-1.0-py3-none-any.whl"
    info = "only_here-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("only_here.py", "WORD = 'found'\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: only-here\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(
            f"{info}/RECORD", f"only_here.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return wheel


def archive(folder: Path, name: str, requirement: str, config: str) -> None:
    (folder / "handler.py").write_text(HANDLER)
    (folder / "requirements.txt").write_text(requirement + "\n")
    (folder / "model-config.yaml").write_text(config)
    subprocess.run(
        [
            BIN / "torch-model-archiver",
            *("--model-name", name, "--version", "1.0", "--handler", folder / "handler.py"),
            *("-r", folder / "requirements.txt", "-c", folder / "model-config.yaml"),
            *("--export-path", folder / "model_store"),
        ],
        check=True,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("packages")
    (folder / "model_store").mkdir()
    wheel = make_wheel(folder)
    archive(folder, "beside", str(wheel), "minWorkers: 1\n")
    archive(folder, "apart", str(wheel), "minWorkers: 1\nuseVenv: true\n")
    archive(folder, "strict_beside", str(wheel), "minWorkers: 1\nsandbox: strict\n")
    archive(folder, "strict_apart", str(wheel), "minWorkers: 1\nuseVenv: true\nsandbox: strict\n")
    archive(folder, "missing", str(folder / "no-such.whl"), "minWorkers: 1\n")
    running = Server(folder, (), {"enable_model_api": "true", "install_py_dep_per_model": "true"})
    yield running
    running.stop()


@pytest.mark.parametrize("name", ["beside", "apart", "strict_beside", "strict_apart"])
def test_the_handler_finds_its_package(server: Server, name: str) -> None:
    registered = server.manage.post("/models", params={"url": f"{name}.mar"})
    assert registered.status_code == 200, registered.text
    answer = server.client.post(f"/predictions/{name}").text
    assert answer.startswith("found ")
    assert ("/venv" in answer.rsplit(" ", 1)[1].removeprefix(str(BIN.parent))) == name.endswith("apart")
    server.manage.delete(f"/models/{name}")


def test_what_cannot_be_installed_is_named_and_nothing_is_left(server: Server) -> None:
    refused = server.manage.post("/models", params={"url": "missing.mar"})
    assert (refused.status_code, refused.json()["type"]) == (400, "ModelException")
    assert refused.json()["message"] == "Custom pip package installation failed for model missing"
    assert "no-such.whl" in refused.json()["cause"]
    assert server.manage.get("/models").json() == {"models": []}


def test_at_start_what_cannot_be_installed_is_not_said_to_be_unknown(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    archive(tmp_path, "missing", str(tmp_path / "no-such.whl"), "minWorkers: 1\n")
    server = Server(tmp_path, ("missing=missing.mar",), {"install_py_dep_per_model": "true"})
    answer = server.client.post("/predictions/missing", content=b"x")
    assert (answer.status_code, answer.json()["message"]) == (503, "Model missing cannot be served.")
    assert "installation failed for model missing" in answer.json()["cause"]
    assert "no-such.whl" in answer.json()["cause"]
    assert server.client.post("/predictions/other").status_code == 404
    server.stop()


def test_a_package_that_is_listed_but_not_installed_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    archive(tmp_path, "beside", "only-here==1.0", "minWorkers: 1\n")
    server = Server(tmp_path, ("beside.mar",), {})
    answer = server.client.post("/predictions/beside", content=b"x")
    assert (answer.status_code, answer.json()["cause"]) == (
        503,
        "ModuleNotFoundError: No module named 'only_here' (handler.py, line 7, in handle). "
        "requirements.txt names it: set install_py_dep_per_model, or install it",
    )
    server.stop()
