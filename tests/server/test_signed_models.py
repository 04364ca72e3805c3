"""A server with `verify_models=require`: what the documented commands signed serves, all else does not."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from conftest import BIN, Server, make_archive  # type: ignore[import-not-found]  # pytest puts this folder on the path
from tools import unavailable

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "signing.md"
HANDLER = "def handle(data, context):\n    return data and ['ok' for row in data]\n"


def commands() -> list[str]:
    """The commands of the page: they make the keys and sign, first a file, then a folder."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if not line.startswith("torchserve ")]


def test_only_what_was_signed_serves(tmp_path: Path) -> None:
    if not (BIN / "model_signing").exists():
        unavailable("model-signing is not installed: pip install -e '.[dev]'")
    if shutil.which("openssl") is None:
        unavailable("openssl is not installed (Debian: apt-get install openssl)")
    store = tmp_path / "model_store"
    store.mkdir()
    for name in ("mnist", "unsigned", "tampered"):
        make_archive(store, name, HANDLER)
    (store / "mnist-1.0.mar").rename(store / "mnist.mar")
    with zipfile.ZipFile(store / "unsigned-1.0.mar") as packed:
        packed.extractall(store / "mnist")
    environ = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}
    for command in commands():
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=environ)
    (store / "tampered-1.0.mar.sig").write_bytes((store / "mnist.mar.sig").read_bytes())
    settings = {
        "verify_models": "require",
        "verify_public_keys": "signing.pub",
        "enable_model_api": True,
        "default_workers_per_model": 1,
    }
    models = ("mnist.mar", "tampered-1.0.mar")
    # an old torch beside the server, as far as its metadata go
    (tmp_path / "old" / "torch-2.5.1.dist-info").mkdir(parents=True)
    (tmp_path / "old" / "torch-2.5.1.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.5.1\n")
    environ = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(tmp_path / "old")}
    server = Server(tmp_path, models, settings, environ=environ)
    try:
        server.wait_for(r"\[WARN *\] .* torch 2\.5\.1 lets a pickle of weights run code although")
        server.wait_for(r"Failed to load model: tampered-1\.0\.mar: .* it is not what the key sha256:")
        assert server.client.post("/predictions/mnist", content=b"x").text == "ok"
        (described,) = server.manage.get("/models/mnist").json()
        assert described["signature"]["state"] == "verified"
        refused = server.client.post("/predictions/tampered", content=b"x")
        assert (refused.status_code, "Model not found" in refused.text) == (404, True)
        answer = server.manage.post("/models", params={"url": "unsigned-1.0.mar"})
        assert (answer.status_code, answer.json()["message"]) == (
            400,
            "unsigned-1.0.mar is refused: it is not signed (verify_models=require)",
        )
        wanted = {"url": "mnist", "model_name": "folder", "initial_workers": 1, "synchronous": True}
        for _ in range(2):  # its workers have left nothing in the folder
            answer = server.manage.post("/models", params=wanted)
            assert answer.status_code == 200, answer.text
            assert server.client.post("/predictions/folder", content=b"x").text == "ok"
            assert server.manage.delete("/models/folder").status_code == 200
    finally:
        server.stop()
