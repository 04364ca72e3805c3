"""The management API on a real server: registering, scaling, describing, listing, unregistering."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Server, eventually, make_archive  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ECHO = """
def handle(data, context):
    if data is None:
        return None
    if context.get_request_header(0, "describe") == "True":
        return [{"speaks": "digits", "row": len(data[0])}]
    return [context.manifest["model"]["modelVersion"]] * len(data)
"""
SHY = ECHO.replace('[{"speaks": "digits", "row": len(data[0])}]', '["nothing to say"]')
BROKEN = """
def handle(data, context):
    raise RuntimeError("no weights here")
"""
SLOW = """
import time

def handle(data, context):
    if data is not None:
        time.sleep(float(data[0]["body"]))
        return ["slept"] * len(data)
"""
HANGING = """
import time

def handle(data, context):
    if data is not None:
        time.sleep(60)
        return [{}] * len(data)
"""
LOADS_SLOWLY = """
import time

def handle(data, context):
    if data is None:
        time.sleep(1.0)
        return None
    return ["up"] * len(data)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one start-up model, `first`, and a store of further archives."""
    folder = tmp_path_factory.mktemp("managed")
    store = folder / "model_store"
    store.mkdir()
    make_archive(store, "first", ECHO, config="minWorkers: 1\nmaxWorkers: 2\nbatchSize: 4\n")
    for version in ("1.0", "2.0", "3.0"):
        make_archive(store, "echo", ECHO, version)
    make_archive(store, "shy", SHY)
    make_archive(store, "broken", BROKEN)
    make_archive(store, "slow", SLOW)
    make_archive(store, "late", LOADS_SLOWLY)
    (store / "rubbish.mar").write_bytes(b"no archive")
    (folder / "elsewhere").mkdir()
    make_archive(folder / "elsewhere", "remote", ECHO)
    running = Server(
        folder,
        ("first-1.0.mar",),
        {"enable_model_api": "true", "allowed_urls": f"file://{folder}/.*,http://127\\\\.0\\\\.0\\\\.1:.*"},
    )
    yield running
    running.stop()


@pytest.fixture
def manage(server: Server) -> httpx.Client:
    return server.manage


def register(manage: httpx.Client, url: str, **parameters: object) -> httpx.Response:
    return manage.post(
        "/models", params={"url": url, **{key: str(value) for key, value in parameters.items()}}
    )


def describe(manage: httpx.Client, name: str, version: str = "") -> dict[str, Any]:
    found = manage.get(f"/models/{name}" + (f"/{version}" if version else ""))
    assert found.status_code == 200, found.text
    described: dict[str, Any] = found.json()[0]
    return described


@pytest.fixture
def echo(manage: httpx.Client) -> Iterator[str]:
    """The model `echo` in version 1.0 with one worker, gone afterwards."""
    assert register(manage, "echo-1.0.mar", initial_workers=1).status_code == 200
    yield "echo"
    for version in ("3.0", "2.0", "1.0"):
        manage.delete(f"/models/echo/{version}")
    manage.delete("/models/echo")


def test_registering_with_workers_waits_until_they_serve(server: Server, echo: str) -> None:
    described = describe(server.manage, echo)
    assert [worker["status"] for worker in described["workers"]] == ["READY"]
    assert server.client.post("/predictions/echo").text == "1.0"
    assert not described["loadedAtStartup"]


def test_the_sentences_of_registering(manage: httpx.Client) -> None:
    said = register(manage, "echo-2.0.mar", model_name="named", initial_workers=2)
    assert said.json() == {"status": 'Model "named" Version: 2.0 registered with 2 initial workers'}
    assert manage.delete("/models/named").json() == {"status": 'Model "named" unregistered'}
    none = register(manage, "echo-2.0.mar", model_name="named")
    assert none.json()["status"] == (
        'Model "named" Version: 2.0 registered with 0 initial workers. '
        "Use scale workers API to add workers for the model."
    )
    later = manage.put("/models/named", params={"min_worker": 1})
    assert (later.status_code, later.json()) == (202, {"status": "Processing worker updates..."})
    manage.delete("/models/named")
    later = register(manage, "echo-2.0.mar", model_name="named", initial_workers=1, synchronous="false")
    assert (later.status_code, later.json()) == (202, {"status": "Processing worker updates..."})
    manage.delete("/models/named")


def test_parameters_may_come_as_json(manage: httpx.Client) -> None:
    body = {"url": "echo-1.0.mar", "model_name": "json", "batch_size": 7, "max_batch_delay": 3}
    assert manage.post("/models", json={**body, "response_timeout": 9}).status_code == 200
    described = describe(manage, "json")
    assert (described["batchSize"], described["maxBatchDelay"], described["responseTimeout"]) == (7, 3, 9)
    manage.delete("/models/json")


def test_the_description_has_every_field_in_torchserves_order(manage: httpx.Client) -> None:
    eventually(lambda: describe(manage, "first")["workers"][0]["status"] == "READY")
    described = describe(manage, "first")
    assert list(described) == [
        *("modelName", "modelVersion", "modelUrl", "runtime", "minWorkers", "maxWorkers", "batchSize"),
        *("maxBatchDelay", "responseTimeout", "startupTimeout", "maxRetryTimeoutInSec"),
        *("clientTimeoutInMills", "parallelType", "parallelLevel", "deviceType", "continuousBatching"),
        *("useJobTicket", "useVenv", "stateful", "sequenceMaxIdleMSec", "sequenceTimeoutMSec"),
        *("maxNumSequence", "maxSequenceJobQueueSize", "loadedAtStartup", "workers", "jobQueueStatus"),
        "imports",
    ]
    assert described["modelUrl"] == "first-1.0.mar"
    assert (described["minWorkers"], described["maxWorkers"], described["batchSize"]) == (1, 2, 4)
    assert (described["responseTimeout"], described["startupTimeout"]) == (120, 120)
    assert described["loadedAtStartup"]
    assert described["jobQueueStatus"] == {"remainingCapacity": 100, "pendingRequests": 0}
    (worker,) = described["workers"]
    assert list(worker) == [
        "id",
        "startTime",
        "status",
        "memoryUsage",
        "pid",
        "gpu",
        "gpuUsage",
        "sandbox",
    ]
    assert worker["id"] == "9000"
    assert worker["pid"] > 0
    assert worker["startTime"].endswith("Z")
    assert (worker["gpu"], worker["gpuUsage"]) == (False, "N/A")


def test_what_the_handler_says_of_itself(manage: httpx.Client, echo: str) -> None:
    found = manage.get("/models/echo", params={"customized": "true"})
    assert found.json()[0]["customizedMetadata"] == {"speaks": "digits", "row": 0}
    register(manage, "shy-1.0.mar", initial_workers=1)
    found = manage.get("/models/shy", params={"customized": "true"})
    assert found.json()[0]["customizedMetadata"] == {}
    manage.delete("/models/shy")


def test_versions_stand_side_by_side(server: Server, echo: str) -> None:
    manage, client = server.manage, server.client
    register(manage, "echo-2.0.mar", initial_workers=1)
    assert client.post("/predictions/echo").text == "1.0"
    assert client.post("/predictions/echo/2.0").text == "2.0"
    both = manage.get("/models/echo/all").json()
    assert [described["modelVersion"] for described in both] == ["1.0", "2.0"]
    changed = manage.put("/models/echo/2.0/set-default")
    assert changed.json() == {"status": 'Default version successfully updated for model "echo" to "2.0"'}
    assert client.post("/predictions/echo").text == "2.0"
    refused = manage.delete("/models/echo")
    assert (refused.status_code, refused.json()) == (
        403,
        {
            "code": 403,
            "type": "InvalidModelVersionException",
            "message": "Cannot remove default version for model echo",
        },
    )
    assert manage.delete("/models/echo/1.0").json() == {"status": 'Model "echo" unregistered'}
    assert describe(manage, "echo")["modelVersion"] == "2.0"


def test_scaling_up_and_down(manage: httpx.Client, echo: str) -> None:
    said = manage.put("/models/echo", params={"min_worker": 3, "synchronous": "true"})
    assert said.json() == {"status": "Workers scaled to 3 for model: echo"}
    described = describe(manage, "echo")
    assert (described["minWorkers"], described["maxWorkers"], len(described["workers"])) == (3, 3, 3)
    said = manage.put("/models/echo/1.0", params={"min_worker": 1, "max_worker": 2, "synchronous": "true"})
    assert said.json() == {"status": "Workers scaled to 1 for model: echo, version: 1.0"}
    described = describe(manage, "echo")
    assert (described["minWorkers"], described["maxWorkers"], len(described["workers"])) == (1, 2, 1)


def test_scaled_to_none_refuses_at_once_and_comes_back(server: Server, echo: str) -> None:
    server.manage.put("/models/echo", params={"min_worker": 0, "synchronous": "true"})
    refused = server.client.post("/predictions/echo")
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    # TorchServe's sentence has a stray quote where the version is named.
    versioned = server.client.post("/predictions/echo/1.0")
    assert (versioned.status_code, versioned.json()["type"]) == (503, "ServiceUnavailableException")
    assert versioned.json()["message"].startswith('Model "echo" Version 1.0" has no worker to serve')
    customized = server.manage.get("/models/echo", params={"customized": "true"})
    assert customized.status_code == 503
    assert customized.json()["message"] == (
        'Model "echo" has no worker to serve describe request. Please use scale workers API to add workers.'
    )
    server.manage.put("/models/echo", params={"min_worker": 1, "synchronous": "true"})
    assert server.client.post("/predictions/echo").text == "1.0"


@pytest.mark.parametrize("leave", ["scale to 0", "scale to 1", "unregister"])
def test_what_was_taken_is_answered_when_workers_leave(server: Server, leave: str) -> None:
    assert register(server.manage, "slow-1.0.mar", initial_workers=2).status_code == 200
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(server.client.post, "/predictions/slow", content=b"0.3") for _ in range(6)]
        eventually(lambda: describe(server.manage, "slow")["jobQueueStatus"]["pendingRequests"] == 4)
        if leave == "unregister":
            assert server.manage.delete("/models/slow").status_code == 200
        else:
            said = server.manage.put("/models/slow", params={"min_worker": leave[-1], "synchronous": "true"})
            assert said.status_code == 200
        assert [answer.result().text for answer in asked] == ["slept"] * 6
    server.manage.delete("/models/slow")
    assert server.client.post("/predictions/slow", content=b"0").status_code == 404


def test_listing_by_pages(manage: httpx.Client) -> None:
    for number in range(3):
        register(manage, "echo-1.0.mar", model_name=f"page{number}")
    everything = manage.get("/models").json()
    assert everything["models"][0] == {"modelName": "first", "modelUrl": "first-1.0.mar"}
    assert "nextPageToken" not in everything
    page = manage.get("/models/", params={"limit": 3}).json()
    assert (len(page["models"]), page["nextPageToken"]) == (3, "3")
    rest = manage.get("/models", params={"limit": 3, "next_page_token": "3"}).json()
    assert [row["modelName"] for row in rest["models"]] == ["page2"]
    assert "nextPageToken" not in rest
    assert manage.get("/models", params={"limit": 3, "nextPageToken": "3"}).json() == rest
    assert manage.get("/models", params={"next_page_token": "99"}).json() == {"models": []}
    assert len(manage.get("/models", params={"limit": 1000}).json()["models"]) == 4
    for number in range(3):
        manage.delete(f"/models/page{number}")


ERRORS: list[tuple[str, str, dict[str, str], int, str, str]] = [
    ("POST", "/models", {}, 400, "BadRequestException", "Parameter url is required."),
    ("POST", "/models?url=", {}, 400, "BadRequestException", "Parameter url is required."),
    ("POST", "/models?url=no.mar", {}, 404, "ModelNotFoundException", "Model not found at: no.mar"),
    (
        "POST",
        "/models?url=s3://b/no.mar",
        {},
        404,
        "ModelNotFoundException",
        "Model not found at: s3://b/no.mar",
    ),
    (
        *("POST", "/models?url=../first-1.0.mar", {}, 404, "ModelNotFoundException"),
        "Relative path is not allowed in url: ../first-1.0.mar",
    ),
    (
        *("POST", "/models?url=http://elsewhere.example/a.mar", {}, 404, "ModelNotFoundException"),
        "Given URL http://elsewhere.example/a.mar does not match any allowed URL(s)",
    ),
    (
        *("POST", "/models?url=http://127.0.0.1:1/a.mar", {}, 400, "DownloadArchiveException"),
        "Failed to download archive from: http://127.0.0.1:1/a.mar",
    ),
    (
        *("POST", "/models?url=http://127.0.0.1:1/first-1.0.mar", {}, 500, "InternalServerException"),
        "Model file already exists first-1.0.mar",
    ),
    (
        *("POST", "/models?url=first-1.0.mar", {}, 409, "ConflictStatusException"),
        "Model version 1.0 is already registered for model first",
    ),
    (
        *("POST", "/models?url=echo-1.0.mar", {"runtime": "perl"}, 400, "BadRequestException"),
        "Invalid RuntimeType value: perl",
    ),
    (
        *("POST", "/models?url=broken-1.0.mar", {"initial_workers": "1"}, 500, "InternalServerException"),
        "Failed to start workers for model broken version: 1.0",
    ),
    (
        *("POST", "/models?url=echo-1.0.mar", {"batch_size": "many"}, 400, "BadRequestException"),
        "Invalid value for parameter batch_size: 'many'. Expected a whole number from 1 or auto.",
    ),
    (
        *("PUT", "/models/first", {"min_worker": "2", "max_worker": "1"}, 400, "BadRequestException"),
        "max_worker cannot be less than min_worker.",
    ),
    (
        *("PUT", "/models/first", {"min_worker": "-1"}, 400, "BadRequestException"),
        "Invalid value for parameter min_worker: '-1'. Expected int >= 0.",
    ),
    ("GET", "/models/none", {}, 404, "ModelNotFoundException", "Model not found: none"),
    (
        *("GET", "/models/first/9", {}, 404, "ModelVersionNotFoundException"),
        "Model version: 9 does not exist for model: first",
    ),
    (
        *("PUT", "/models/first/9/set-default", {}, 404, "ModelVersionNotFoundException"),
        "Model version 9 does not exist for model first",
    ),
    ("DELETE", "/models/none", {}, 404, "ModelNotFoundException", "Model not found: none"),
    (
        *("PATCH", "/models", {}, 405, "MethodNotAllowedException"),
        "Requested method is not allowed, please refer to API document.",
    ),
    (
        *("GET", "/models/first/1.0/set-default", {}, 405, "MethodNotAllowedException"),
        "Requested method is not allowed, please refer to API document.",
    ),
    (
        *("GET", "/predictions/first", {}, 404, "ResourceNotFoundException"),
        "Requested resource is not found, please refer to API document.",
    ),
]


@pytest.mark.parametrize(("method", "path", "parameters", "status", "kind", "message"), ERRORS)
def test_errors(
    manage: httpx.Client,
    method: str,
    path: str,
    parameters: dict[str, str],
    status: int,
    kind: str,
    message: str,
) -> None:
    before = manage.get("/models").json()
    url = httpx.URL(path).copy_merge_params(parameters)
    answer = manage.request(method, url)
    assert (answer.status_code, answer.json()["type"], answer.json()["message"]) == (status, kind, message)
    assert answer.json()["code"] == status
    assert manage.get("/models").json() == before, "a refused request changes nothing"


def test_a_broken_archive_or_body_is_named(manage: httpx.Client) -> None:
    answer = register(manage, "rubbish.mar")
    assert answer.status_code == 400
    assert "rubbish.mar" in answer.json()["message"]
    answer = manage.post("/models", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    answer = manage.post("/models", content=b"[]", headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_a_start_that_fails_names_its_cause_and_leaves_nothing(server: Server) -> None:
    answer = register(server.manage, "broken-1.0.mar", initial_workers=2)
    assert "RuntimeError: no weights here" in answer.json()["cause"]
    assert server.manage.get("/models/broken").status_code == 404
    models = next(path for path in server.temp.iterdir() if path.name.startswith("torchkeeper-models"))
    assert len(list(models.iterdir())) == 1, "only the start-up model is unpacked"


def test_files_come_through_quarantine_and_go_with_the_model(server: Server) -> None:
    store, archive = server.folder / "model_store", server.folder / "elsewhere" / "remote-1.0.mar"
    assert register(server.manage, f"file://{archive}", initial_workers=1).status_code == 200
    assert (store / "remote-1.0.mar").exists()
    assert server.client.post("/predictions/remote").text == "1.0"
    server.manage.delete("/models/remote")
    assert not (store / "remote-1.0.mar").exists()
    wrong = register(server.manage, f"file://{archive}#sha256={'0' * 64}")
    assert wrong.status_code == 400
    assert "not the pinned" in wrong.json()["message"]
    assert not [path for path in store.iterdir() if path.name.startswith(".")], "nothing stays in quarantine"


def test_an_archive_comes_over_http_but_no_redirect_leads_around_allowed_urls(server: Server) -> None:
    content = (server.folder / "elsewhere" / "remote-1.0.mar").read_bytes()

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away.mar":
                self.send_response(302)
                self.send_header("Location", "http://elsewhere.example/remote.mar")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{files.server_port}"
        assert register(server.manage, f"{base}/remote.mar", initial_workers=1).status_code == 200
        assert server.client.post("/predictions/remote").text == "1.0"
        server.manage.delete("/models/remote")
        led_away = register(server.manage, f"{base}/away.mar")
        assert led_away.status_code == 404
        assert "does not match any allowed URL(s)" in led_away.json()["message"]
        files.shutdown()


def test_an_absolute_path_counts_by_its_place_or_its_base_name(server: Server) -> None:
    inside = server.folder / "model_store" / "echo-1.0.mar"
    assert register(server.manage, str(inside), model_name="inside").status_code == 200
    assert register(server.manage, "/some/where/echo-2.0.mar", model_name="outside").status_code == 200
    for name in ("inside", "outside"):
        server.manage.delete(f"/models/{name}")


def test_kserves_readiness_is_true_when_a_worker_has_loaded(manage: httpx.Client) -> None:
    register(manage, "late-1.0.mar", initial_workers=1, synchronous="false")
    assert manage.get("/v1/models/late").json() == {"name": "late", "ready": False}
    assert describe(manage, "late")["workers"][0]["status"] == "LOADING"
    eventually(lambda: bool(manage.get("/v1/models/late").json()["ready"]))
    manage.delete("/models/late")


def test_everything_else_is_answered_while_twenty_models_load(server: Server) -> None:
    with ThreadPoolExecutor(20) as threads:
        loads = [
            threads.submit(
                register, server.manage, "late-1.0.mar", model_name=f"late{number}", initial_workers=1
            )
            for number in range(20)
        ]
        answered = 0
        while not all(load.done() for load in loads):
            assert server.client.get("/ping").status_code == 200
            assert server.client.post("/predictions/first").text == "1.0"
            answered += 1
        assert [load.result().status_code for load in loads] == [200] * 20
    assert answered >= 3, "other requests were answered meanwhile"
    for number in range(20):
        server.manage.delete(f"/models/late{number}")


def test_a_whole_life_under_load_loses_no_request(server: Server, echo: str) -> None:
    manage, stop = server.manage, threading.Event()
    answers: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=60) as client:
            while not stop.is_set():
                answers.append(client.post("/predictions/echo").status_code)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    assert register(manage, "echo-2.0.mar", initial_workers=1).status_code == 200
    for count in (3, 1, 2):
        for version in ("1.0", "2.0"):
            scaled = manage.put(
                f"/models/echo/{version}", params={"min_worker": count, "synchronous": "true"}
            )
            assert scaled.status_code == 200
    assert manage.put("/models/echo/2.0/set-default").status_code == 200
    assert manage.delete("/models/echo/1.0").status_code == 200
    stop.set()
    for asker in askers:
        asker.join()
    assert answers
    assert set(answers) == {200}


def test_registering_needs_the_model_api(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", ECHO)
    closed = Server(tmp_path, ("echo-1.0.mar",), {})
    for method, path in (("POST", "/models?url=echo-1.0.mar"), ("DELETE", "/models/echo")):
        answer = closed.manage.request(method, path)
        assert (answer.status_code, answer.json()["type"]) == (405, "MethodNotAllowedException")
    assert closed.manage.put("/models/echo", params={"min_worker": 1}).status_code == 202
    closed.stop()


def test_the_document_describes_the_listeners_own_routes(server: Server) -> None:
    inference = server.client.get("/api-description").json()
    management = server.manage.request("OPTIONS", "/").json()
    assert "/predictions/{model_name}" in inference["paths"]
    assert "/models" not in inference["paths"]
    assert set(management["paths"]["/models/{model_name}"]) == {"get", "put", "delete", "options"}
    of_one = server.client.request("OPTIONS", "/predictions/first").json()
    assert of_one["info"] == {**of_one["info"], "title": "RESTful API for: first", "version": "1.0.0"}
    page = server.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("http-equiv", ""), "the page needs nothing from elsewhere"


def test_sagemakers_batch_transform_is_told_what_fits(server: Server) -> None:
    answer = server.client.get("/execution-parameters")
    assert answer.json()["BatchStrategy"] == "MULTI_RECORD"
    assert server.manage.get("/token").status_code == 404, "tokens are off"


def test_one_address_serves_several_apis(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "echo", ECHO)
    socket_path = tmp_path / "both.sock"
    both = Server(
        tmp_path,
        ("echo-1.0.mar",),
        {"inference_address": f"unix:{socket_path}", "management_address": f"unix:{socket_path}"},
    )
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(socket_path)), base_url="http://both", timeout=60
    ) as client:
        assert client.post("/predictions/echo").text == "1.0"
        assert client.get("/models").json()["models"][0]["modelName"] == "echo"
        assert client.post("/models/echo/invoke").text == "1.0"
    both.stop()
    assert not socket_path.exists()


def test_what_does_not_end_in_time_is_said_and_ended(tmp_path: Path) -> None:
    store = tmp_path / "model_store"
    store.mkdir()
    began = tmp_path / "began"
    note = f"        open({str(began)!r}, 'w').close()\n"
    slow = SLOW.replace("        time.sleep", f"{note}        time.sleep")
    make_archive(store, "slow", slow, config="minWorkers: 1\nmaxWorkers: 1\n")
    make_archive(store, "hanging", HANGING, config="minWorkers: 1\nmaxWorkers: 1\nresponseTimeout: 1\n")
    settings = {"enable_model_api": "true", "unregister_model_timeout": "1"}
    server = Server(tmp_path, ("slow-1.0.mar", "hanging-1.0.mar"), settings)
    silent = server.manage.get("/models/hanging", params={"customized": "true"})
    assert (silent.status_code, silent.json()["type"], silent.json()["message"]) == (
        500,
        "InternalServerException",
        "Failed to get customized model matadata.",
    )
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(server.client.post, "/predictions/slow", content=b"30")
        eventually(began.exists)
        late = server.manage.delete("/models/slow")
        assert (late.status_code, late.json()["type"], late.json()["message"]) == (
            408,
            "RequestTimeoutException",
            "Timed out while cleaning resources: slow",
        )
        assert asked.result().status_code in (500, 507)
    assert server.manage.get("/models/slow").status_code == 404
    server.stop()
