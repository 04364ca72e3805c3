"""KServe's URLs on a real server: what it says of itself, readiness, errors, keys, codings, repository."""

from __future__ import annotations

import gzip
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kserve_requests import infer, tensor  # type: ignore[import-not-found]  # likewise

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    Server,
    Start,
    eventually,
    make_archive,
)

pytestmark = pytest.mark.slow

ECHO = """
def handle(data, context):
    if data is None:
        return None
    return [row.get("data", row.get("body")) if isinstance(row, dict) else row for row in data]
"""


def test_what_the_server_says_of_itself(serve: Start, tmp_path: Path) -> None:
    config = (
        "minWorkers: 1\nmaxWorkers: 1\n"
        "v2Inputs: [{name: a, datatype: FP32, shape: [-1, 2]}]\n"
        "v2Outputs: [{name: a, datatype: INT64, shape: [1]}]\n"
        "batchSize: 8\nbatchCost: elements\nmaxBatchCost: 4\nbatchBy: shape\n"
    )
    server = serve({"echo": ECHO}, config=config)
    get = server.client.get
    assert get("/").json() == {"status": "alive"}
    assert get("/v1/models").json() == {"models": ["echo"]}
    assert get("/v2/models").json() == {"models": ["echo"]}
    said = get("/v2").json()
    assert (said["name"], said["version"]) == ("Torchserve", "0.12.0")
    assert "binary_tensor_data" in said["extensions"]
    assert said["extenstion"] == ["kserve", "kubeflow"]
    assert get("/v2/health/live").json() == {"live": True}
    for path in ("/v2/models/echo", "/v2/models/echo/versions/1.0"):
        assert get(path).json() == {
            "name": "echo",
            "versions": ["1.0"],
            "platform": "pytorch",
            "inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "a", "datatype": "INT64", "shape": [1]}],
        }
    eventually(lambda: get("/v2/health/ready").json() == {"ready": True})
    for path in ("/v1/models/echo", "/v2/models/echo/ready", "/v2/models/echo/versions/1.0/ready"):
        assert get(path).json() == {"name": "echo", "ready": True}
    costs_of_tensors(server)


def costs_of_tensors(server: Server) -> None:
    """Costs are known of KServe v2's tensors; what has none, or does not say its shape, is refused."""
    post = server.client.post
    bodies = [infer(tensor("a", "FP32", [size], list(map(float, range(size))))) for size in (1, 2, 9) * 8]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda body: post("/v2/models/echo/infer", json=body), bodies))
    assert [answer.json()["outputs"][0]["data"] for answer in answers] == [
        body["inputs"][0]["data"] for body in bodies
    ]
    refused = post("/v2/models/echo/infer", json=infer(tensor("a", "FP32", [-1], [1.0])))
    assert (refused.status_code, "must say all sizes" in refused.json()["error"]) == (400, True)
    refused = post("/predictions/echo", content=b"1")
    assert (refused.status_code, "tensors only" in refused.json()["message"]) == (400, True)


def test_ready_is_who_serves_as_he_should(serve: Start) -> None:
    server = serve({"echo": ECHO}, config="minWorkers: 1\nmaxWorkers: 1\n")
    get = server.client.get
    eventually(lambda: get("/v2/health/ready").status_code == 200)
    assert server.manage.put("/models/echo?min_worker=0&synchronous=true").status_code == 200
    for path in ("/v1/models/echo", "/v2/models/echo/ready"):
        answer = get(path)
        assert answer.status_code == 503
        assert answer.json() == {"error": "Model with name echo is not ready: 0 of 1 workers are ready"}
    assert get("/v2/health/live").status_code == 200


def test_a_start_up_model_that_cannot_be_read_keeps_the_server_from_being_ready(tmp_path: Path) -> None:
    store = tmp_path / "model_store"
    store.mkdir()
    make_archive(store, "good", ECHO)
    (store / "bad.mar").write_bytes(b"no archive")
    server = Server(tmp_path, ("good-1.0.mar", "bad.mar"), {"enable_model_api": "true"})
    eventually(lambda: server.client.get("/v2/models/good/ready").status_code == 200)
    answer = server.client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert "model bad.mar could not be loaded at start" in answer.json()["error"]
    assert server.client.get("/v2/health/live").status_code == 200
    make_archive(store, "bad", ECHO)
    assert server.manage.post("/models?url=bad-1.0.mar&initial_workers=1&synchronous=true").status_code == 200
    assert server.client.get("/v2/health/ready").json() == {"ready": True}
    server.stop()


def test_every_start_up_model_has_to_be_there(tmp_path: Path) -> None:
    store = tmp_path / "model_store"
    store.mkdir()
    make_archive(store, "good", ECHO)
    (store / "bad-2.0.mar").write_bytes(b"no archive")
    server = Server(tmp_path, ("m=bad-2.0.mar", "m=good-1.0.mar"), {"enable_model_api": "true"})
    eventually(lambda: server.client.get("/v2/models/m/ready").status_code == 200)
    answer = server.client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert "model bad-2.0.mar could not be loaded at start" in answer.json()["error"]
    (store / "bad-2.0.mar").unlink()
    make_archive(store, "bad", ECHO, "2.0")
    mended = server.manage.post("/models?url=bad-2.0.mar&model_name=m&initial_workers=1&synchronous=true")
    assert mended.status_code == 200, mended.text
    assert server.client.get("/v2/health/ready").json() == {"ready": True}
    server.stop()


WAITING = """
import os, time
def wait(name):
    while not os.path.exists(name):
        time.sleep(0.01)
def handle(data, context):
    if data is None:
        wait("LOAD")
        raise ValueError("no weights")
    wait("ANSWER")
    return ["x"] * len(data)
"""


def test_loading_is_not_done_before_the_workers_have_loaded(serve: Start) -> None:
    server = serve({"echo": ECHO}, enable_model_api="true")
    gate = server.folder / "load"
    make_archive(server.folder / "model_store", "late", WAITING.replace('"LOAD"', repr(str(gate)))).rename(
        server.folder / "model_store" / "late.mar"
    )
    url = "/v2/repository/models/late/load"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.manage.post, url)
        eventually(lambda: "late" in server.client.get("/v2/models").json()["models"])
        second = pool.submit(server.manage.post, url)
        assert server.client.get("/v2/models/late/ready").status_code == 503
        gate.touch()
        for load in (first, second):
            assert load.result().status_code == 500
            assert "Failed to start workers for model late" in load.result().json()["error"]


def test_unloading_takes_all_versions_even_when_one_is_late(serve: Start) -> None:
    server = serve({"echo": ECHO}, enable_model_api="true", unregister_model_timeout=1)
    gate = server.folder / "answer"
    source = WAITING.replace('wait("LOAD")', "return").replace('"ANSWER"', repr(str(gate)))
    for version in ("1.0", "2.0"):
        make_archive(server.folder / "model_store", "busy", source, version)
        answer = server.manage.post(f"/models?url=busy-{version}.mar&initial_workers=1&synchronous=true")
        assert answer.status_code == 200, answer.text
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.client.post, "/predictions/busy/2.0", content=b"x")
        taken = "ts_inference_requests_total"
        eventually(lambda: f'{taken}{{model_name="busy"' in server.metrics.get("/metrics").text)
        answer = server.manage.post("/v2/repository/models/busy/unload")
        assert answer.status_code == 408
        assert [row["name"] for row in server.client.post("/v2/repository/index").json()] == ["echo"]
        gate.touch()
        assert "Worker died." in asked.result().text


FAULTS = """
from ts.utils.util import PredictionException
def handle(data, context):
    if data is None:
        return None
    for row in data:
        kind = row["data"] if isinstance(row, dict) and "data" in row else row
        if kind == "raise":
            raise ValueError("so there")
        if kind == "own":
            raise PredictionException("mine", 418)
        if kind == "status":
            context.set_response_status(404, "gone", 0)
    return ["x"] * len(data)
"""


def test_errors_are_kserves_on_its_urls(serve: Start) -> None:
    server = serve({"faulty": FAULTS}, config="minWorkers: 1\nmaxWorkers: 1\n")

    def v1(body: Any, model: str = "faulty", **more: Any) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = server.client.post(f"/v1/models/{model}:predict", content=content, **more)
        return answer.status_code, answer.json()

    def v2(kind: str) -> tuple[int, Any]:
        body = infer(tensor("x", "BYTES", [1], [kind]))
        answer = server.client.post("/v2/models/faulty/infer", json=body)
        return answer.status_code, answer.json()

    assert v1({"instances": ["fine"]}) == (200, {"predictions": ["x"]})
    said = "Prediction failed: ValueError: so there (faulty_handler.py, line 9, in handle)"
    assert v1({"instances": ["raise"]}) == (500, {"error": said})
    assert v2("raise") == (500, {"error": said})
    assert v1({"instances": ["own"]})[0] == 418
    assert v1({"instances": ["own"]})[1]["error"].startswith("mine")
    assert v1({"instances": ["status"]}) == (404, {"predictions": ["x"]})
    assert v1({"instances": []}, "none") == (404, {"error": "Model not found: none"})
    status, said = v1(b"{")
    assert (status, said["error"][:22]) == (400, "the body is no JSON: E")
    native = server.client.post("/predictions/faulty", data={"data": "raise"})
    assert native.status_code == 200, "bytes are not text here"

    for method, path, status in (
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/faulty/versions/9", 404),
        ("POST", "/v2/models/faulty/versions/9/infer", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v1/models/faulty:predict", 405),
        ("POST", "/v2/repository/index", 405),
        ("GET", "/v1/models/%zz", 403),
    ):
        answer = server.client.request(method, path, content=b"{}" if method == "POST" else b"")
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), path


def test_errors_of_v1s_url_on_the_management_address(serve: Start) -> None:
    server = serve({"echo": ECHO})
    for method, path, status, said in (
        ("POST", "/v1/models/echo", 405, "Requested method is not allowed, please refer to API document."),
        ("GET", "/v1/models/none", 404, "Model not found: none"),
    ):
        answer = server.manage.request(method, path)
        assert (answer.status_code, answer.json()) == (status, {"error": said})


def test_errors_of_the_edge_are_kserves_too(serve: Start) -> None:
    server = serve({"echo": ECHO}, max_request_size=2000)
    large = server.client.post("/v2/models/echo/infer", content=bytes(2001))
    assert (large.status_code, list(large.json())) == (413, ["error"])
    bomb = gzip.compress(bytes(3000))
    packed = {"Content-Encoding": "gzip"}
    large = server.client.post("/v2/models/echo/infer", content=bomb, headers=packed)
    assert (large.status_code, list(large.json())) == (413, ["error"])
    native = server.client.post("/predictions/echo", content=bytes(2001))
    assert (native.status_code, native.json()["type"]) == (413, "RequestEntityTooLargeException")


def test_keys_are_asked_for_where_they_should_be(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", ECHO)
    server = Server(tmp_path, ("echo-1.0.mar",), {"enable_model_api": "true"}, flags=())
    held = json.loads((tmp_path / "key_file.json").read_text())
    for path in ("/", "/v2/health/live", "/v2/health/ready", "/v1/models/echo", "/v2/models/echo/ready"):
        assert server.client.get(path).status_code in (200, 503), path
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/v2"),
        ("GET", "/v2/models"),
        ("GET", "/v2/models/echo"),
        ("POST", "/v1/models/echo:predict"),
        ("POST", "/v2/models/echo/infer"),
        ("POST", "/v2/repository/index"),
    ):
        answer = server.client.request(method, path)
        assert answer.status_code == 400, path
        assert answer.json()["error"].startswith("Token Authorization failed."), path
    key = {"Authorization": f"Bearer {held['inference']['key']}"}
    assert server.client.get("/v2", headers=key).status_code == 200
    assert server.client.post("/v2/repository/index", headers=key).status_code == 400
    key = {"Authorization": f"Bearer {held['management']['key']}"}
    assert server.client.post("/v2/repository/index", headers=key).status_code == 200
    server.stop()


def test_compressed_both_ways(serve: Start) -> None:
    server = serve({"echo": ECHO})
    body = json.dumps({"instances": ["x" * 2000]}).encode()
    url = "/v1/models/echo:predict"
    for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        headers = {"Content-Encoding": coding, "Accept-Encoding": coding}
        answer = server.client.post(url, content=pack(body), headers=headers)
        assert answer.json() == {"predictions": ["x" * 2000]}
        assert answer.headers["content-encoding"] == coding
        assert answer.headers["vary"] == "Accept-Encoding"
        assert int(answer.headers["content-length"]) < 200
    plain = server.client.post(url, content=body, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    short = server.client.post(url, json={"instances": ["x"]})
    assert "content-encoding" not in short.headers
    wrong = server.client.post(url, content=b"no gzip", headers={"Content-Encoding": "gzip"})
    assert (wrong.status_code, wrong.json()["error"][:19]) == (400, "The body is no gzip")
    unknown = server.client.post(url, content=b"", headers={"Content-Encoding": "br"})
    assert unknown.status_code == 415
    assert unknown.headers["accept-encoding"] == "gzip, deflate"
    big = json.dumps({"instances": ["y" * 300_000]}).encode()
    answer = server.client.post(url, content=gzip.compress(big), headers={"Content-Encoding": "gzip"})
    assert answer.json() == {"predictions": ["y" * 300_000]}


def test_the_settings_envelope_is_for_torchserves_urls(serve: Start) -> None:
    server = serve({"echo": ECHO}, service_envelope="kservev2")
    body = infer(tensor("x", "INT32", [2], [1, 2]), id="a")
    native = server.client.post("/predictions/echo", json=body).json()
    assert native == server.client.post("/v2/models/echo/infer", json=body).json()
    assert native["outputs"][0]["data"] == [1, 2]
    v1 = server.client.post("/v1/models/echo:predict", json={"instances": [3]})
    assert v1.json() == {"predictions": [3]}


def test_the_repository(serve: Start) -> None:
    server = serve({"echo": ECHO}, enable_model_api="true", config="minWorkers: 1\nmaxWorkers: 1\n")
    make_archive(server.folder / "model_store", "late", ECHO).rename(
        server.folder / "model_store" / "late.mar"
    )
    make_archive(server.folder / "model_store", "late", ECHO, "2.0")

    def index() -> Any:
        return [
            (row["name"], row["version"], row["state"], row["reason"])
            for row in server.client.post("/v2/repository/index", json={"ready": False}).json()
        ]

    eventually(lambda: index() == [("echo", "1.0", "READY", "")])
    load = server.manage.post("/v2/repository/models/late/load")
    assert (load.status_code, load.json()) == (200, {"name": "late", "load": True})
    assert server.manage.post("/v2/repository/models/late/load").status_code == 200
    second = server.manage.post("/models?url=late-2.0.mar&model_name=late&initial_workers=0")
    assert second.status_code == 200, second.text
    assert index()[1:] == [
        ("late", "1.0", "READY", ""),
        ("late", "2.0", "UNAVAILABLE", "0 of 1 workers are ready"),
    ]
    unload = server.manage.post("/v2/repository/models/late/unload")
    assert (unload.status_code, unload.json()) == (200, {"name": "late", "unload": True})
    assert [row[0] for row in index()] == ["echo"]
    for verb in ("load", "unload"):
        answer = server.manage.post(f"/v2/repository/models/none/{verb}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Model not found: none"})
