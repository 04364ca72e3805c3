"""A real server whose model store is a folder of a bucket: loaded, managed, and started again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from object_store import object_store
from servers import BIN, Program, make_archive

pytestmark = pytest.mark.slow

HANDLER = """
def handle(data, context):
    return None if data is None else ["hi"] * len(data)
"""
CONFIG = "".join(f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics"))
CONFIG += "grpc_inference_port=0\ngrpc_management_port=0\nenable_model_api=true\n"


def managed(folder: Path, environ: Mapping[str, str], *arguments: str) -> None:
    """One life of the server: what it has loaded answers, and others of its store come and go."""
    command = [BIN / "torchserve", "--foreground", "--disable-token-auth", *arguments]
    server = Program(command, folder, environ)
    said = r" API bind to: .* \(port (\d+)\)"
    ports = [server.wait_for(api + said)[1] for api in ("Inference", "Management")]
    inference, management = (httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) for port in ports)
    with inference, management:
        assert inference.post("/predictions/m", content=b"x").text == "hi"
        other = {"url": "a.mar", "model_name": "n", "initial_workers": 1, "synchronous": True}
        for _ in range(2):  # the archive goes with the model, and comes again
            assert management.post("/models", params=other).status_code == 200
            assert inference.post("/predictions/n", content=b"x").text == "hi"
            assert management.delete("/models/n").status_code == 200
        assert management.post("/models", params={"url": "gone.mar"}).status_code == 400
        assert management.post("/v2/repository/models/b/load").json() == {"name": "b", "load": True}
        assert management.delete("/models/b").status_code == 200
        assert management.post("/v2/repository/models/gone/load").status_code == 404
    server.end()


def test_archives_of_a_bucket(tmp_path: Path) -> None:
    with object_store() as bucket:
        for name in ("m", "a", "b"):
            made = make_archive(tmp_path, name, HANDLER)
            bucket.objects[f"/bucket/models/{name}.mar"] = made.read_bytes()
        for name in ("run", "temp"):
            (tmp_path / name).mkdir()
        (tmp_path / "run" / "config.properties").write_text(CONFIG)
        temp = str(tmp_path / "temp")
        environ = {**os.environ, "STORAGE_EMULATOR_HOST": bucket.url, "TEMP": temp, "TMPDIR": temp}
        managed(tmp_path / "run", environ, "--model-store", "gs://bucket/models", "--models", "m.mar")
        managed(tmp_path / "run", environ)  # from the snapshot
    assert not [path for path in (tmp_path / "temp").iterdir() if "torchkeeper" in path.name]


def test_a_start_goes_on_from_what_a_killed_server_has_fetched(tmp_path: Path) -> None:
    for name in ("run", "temp", "run/store", "elsewhere"):
        (tmp_path / name).mkdir()
    archive = make_archive(tmp_path / "elsewhere", "m", HANDLER)
    (tmp_path / "run" / "config.properties").write_text(CONFIG)
    temp = str(tmp_path / "temp")
    environ = {**os.environ, "TEMP": temp, "TMPDIR": temp}
    command = [BIN / "torchserve", "--foreground", "--disable-token-auth", "--ncs", "--model-store", "store"]
    for life in range(2):
        server = Program([*command, "--models", f"m={archive.as_uri()}"], tmp_path / "run", environ)
        port = server.wait_for(r"Inference API bind to: .* \(port (\d+)\)")[1]
        assert httpx.post(f"http://127.0.0.1:{port}/predictions/m", content=b"x", timeout=60).text == "hi"
        if life:
            server.end()
        else:
            server.kill()
    assert [path.name for path in (tmp_path / "run" / "store").iterdir()] == [archive.name]
