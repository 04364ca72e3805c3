"""What would end a worker, through a real server: every client has its own answer, and the process stays."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import httpx
import pytest
from rpc_client import Client, refusal  # type: ignore[import-not-found]  # likewise

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    BIN,
    Server,
    Start,
    eventually,
    make_archive,
)
from torchkeeper.rpc.schema import INFERENCE, OPEN_INFERENCE

pytestmark = pytest.mark.slow

HANDLER = """
import json
from ts.utils.util import PredictionException

def handle(data, context):
    if data is None:
        return None
    if context.get_request_header(0, "describe") == "True":
        return [json.loads(open({described!r}).read())]
    answers = []
    for place, row in enumerate(data):
        value = row.get("data") or row.get("body") if isinstance(row, dict) else row
        text = bytes(value).decode() if isinstance(value, (bytes, bytearray)) else type(value).__name__
        what, _, rest = text.partition(" ")
        if what == "status":
            context.set_response_status(rest, "said", place)
        elif what == "header":
            context.set_response_header(place, rest, "value")
        elif what == "raise":
            raise ValueError("\\x1b[31mred\\tand\\ud800")
        elif what == "refuse":
            raise PredictionException("not this one", rest)
        elif what == "leave":
            raise KeyboardInterrupt
        answers.append(what[:20])
    return answers
"""
DEEP = b"[" * 2000 + b"]" * 2000
JSON = {"content-type": "application/json"}


def started(serve: Start, described: Path = Path()) -> tuple[Server, int]:
    source = HANDLER.replace("{described!r}", repr(str(described)))
    server: Server = serve({"m": source}, enable_model_api="true")
    eventually(lambda: server.manage.get("/v1/models/m").json()["ready"])
    return server, server.workers()[0].pid


def test_deep_json_is_answered_on_every_url_and_costs_no_worker(serve: Start) -> None:
    server, pid = started(serve)
    predict = server.client.post
    tensor = b'{"name": "a", "shape": [1], "datatype": "FP32", "data": %b}' % DEEP
    assert predict("/predictions/m", content=DEEP, headers=JSON).text == "[" * 20
    form = {"data": ("a.json", DEEP, "application/json")}
    assert predict("/predictions/m", files=form).text == "[" * 20
    v1 = predict("/v1/models/m:predict", content=b'{"instances": [%b]}' % DEEP)
    assert (v1.status_code, v1.json()) == (400, {"error": "the body is no JSON: too many levels of nesting"})
    v2 = predict("/v2/models/m/infer", content=b'{"inputs": [%b]}' % tensor)
    assert (v2.status_code, v2.json()) == (400, {"error": "the body is no JSON: too many levels of nesting"})
    for method, path in (("POST", "/models"), ("PUT", "/models/m"), ("GET", "/models"), ("GET", "/models/m")):
        for body in (DEEP, b'{"url": %b}' % DEEP, b'{"limit": {}, "customized": [], "url": 1e999}', b'"'):
            answer = server.manage.request(method, path, content=body, headers=JSON)
            assert (answer.status_code, answer.json()["type"]) == (400, "BadRequestException"), (
                path,
                body[:20],
            )
    assert [worker.pid for worker in server.workers()] == [pid]
    assert server.stop()["failed"] == 0


def test_whatever_a_handler_says_of_itself_is_shown_or_left_out(serve: Start, tmp_path: Path) -> None:
    server, pid = started(serve, tmp_path / "described")
    shown = {
        '{"a": 1}': {"a": 1},
        '{"a": %s}' % ("1" * 300): {"a": int("1" * 300)},
        r'{"a": "\ud800"}': {},
        "[1]": {},
        '{"a": %s}' % ("[" * 800 + "]" * 800): None,
        DEEP.decode(): None,
    }
    for described, expected in shown.items():
        (tmp_path / "described").write_text(described)
        answer = server.manage.get("/models/m?customized=true")
        if expected is not None:
            assert answer.json()[0]["customizedMetadata"] == expected
        assert answer.status_code in (200, 503)
    assert answer.json()["message"] == "Prediction failed"
    assert [worker.pid for worker in server.workers()] == [pid]


def test_one_wrong_status_or_header_fails_alone_and_says_where(serve: Start) -> None:
    server, pid = started(serve)
    asked = {
        "status abc": "the response status 'abc' is no number (m_handler.py, line ",
        "status 99": "the response status '99' is none of an answer: it must be 200 to 599 (m_h",
        "header a b": "the response header 'a b' is no name of a header (m_handler.py, line ",
    }
    for body, cause in asked.items():
        answer = server.client.post("/predictions/m", content=body.encode())
        assert (answer.status_code, answer.json()["message"]) == (503, "Prediction failed")
        assert answer.json()["cause"].startswith(cause)
        log = server.folder / "logs" / "model_log.log"
        line = f"request {answer.headers['x-request-id']}: {cause}"
        eventually(lambda log=log, line=line: line in log.read_text())
    assert server.client.post("/predictions/m", content=b"status 404").status_code == 404
    refused = server.client.post("/predictions/m", content=b"refuse abc")
    assert (refused.status_code, refused.json()["message"]) == (500, "not this one")
    assert refused.json()["cause"] == "the response status 'abc' is no number"
    left = server.client.post("/predictions/m", content=b"leave")
    assert (left.status_code, left.json()["cause"].partition(" (")[0]) == (503, "KeyboardInterrupt")
    assert [worker.pid for worker in server.workers()] == [pid]
    assert server.stop()["failed"] == len(asked) + 2


def test_the_same_by_grpc(serve: Start) -> None:
    server, pid = started(serve)
    client, manage = Client(server.grpc), Client(server.grpc_manage)
    predict = client[INFERENCE, "Predictions"]

    def refused(text: str) -> tuple[str, str]:
        code, details = refusal(lambda: predict(model_name="m", input={"data": text.encode()}))
        return code, details.partition("\n")[0]

    assert refused("status abc") == ("UNAVAILABLE", "Prediction failed")
    assert refused("raise") == ("UNAVAILABLE", "Prediction failed")
    assert refused("refuse abc") == ("INTERNAL", "not this one")
    assert refused("refuse 204") == ("UNKNOWN", "not this one")
    assert predict(model_name="m", input={"data": DEEP}).prediction == b"[" * 20
    infer = client[OPEN_INFERENCE, "ModelInfer"]
    inputs = [{"name": "a" * 5000, "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [DEEP]}}]
    assert infer(model_name="m", inputs=inputs).outputs[0].contents.bytes_contents
    call = client.future(INFERENCE, "Predictions")(model_name="m", input={"data": b"raise"})
    assert call.exception() is not None
    assert dict(call.trailing_metadata())["x-cause"].startswith(r"ValueError: \x1b[31mred\tand\ud800 (")
    client.channel.close()
    manage.channel.close()
    assert [worker.pid for worker in server.workers()] == [pid]


PRINTS = """
def handle(data, context):
    print("\\ud800")
    return data and ["fine"] * len(data)
"""


def test_a_server_whose_output_is_a_file_has_workers_that_may_print_anything(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    make_archive(tmp_path / "model_store", "m", PRINTS)
    settings = "".join(
        f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics")
    )
    (tmp_path / "config.properties").write_text(f"{settings}grpc_inference_port=0\ngrpc_management_port=0\n")
    command = [BIN / "torchserve", "--foreground", "--ncs", "--disable-token-auth", "--ts-config"]
    command += ["config.properties", "--model-store", "model_store", "--models", "m=m-1.0.mar"]
    said = tmp_path / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: "Model server started." in said.read_text())
        port = re.search(r"Inference API bind to: .* \(port (\d+)\)", said.read_text())
        assert port is not None
        answer = httpx.post(f"http://127.0.0.1:{port[1]}/predictions/m", content=b"x", timeout=60)
        assert answer.text == "fine"
    finally:
        process.terminate()
        process.wait(60)
