"""Requests and answers through a real server: inputs, outputs, headers, errors."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import Start, eventually  # type: ignore[import-not-found]  # pytest puts this folder on the path

pytestmark = pytest.mark.slow

ECHO = """
import json

def handle(data, context):
    if data is None:
        return None
    answers = []
    for place, row in enumerate(data):
        asked = row.get("answer", b"")
        asked = asked.decode() if isinstance(asked, (bytes, bytearray)) else asked
        shown = {
            key: [type(value).__name__, value.decode("latin-1") if isinstance(value, bytearray) else value]
            for key, value in row.items()
        }
        if asked == "text":
            answers.append("hällo")
        elif asked == "bytes":
            answers.append(b"\\x00\\xff")
        elif asked == "tensor":
            import torch
            answers.append(torch.tensor([1, 2]))
        elif asked == "none":
            answers.append(None)
        elif asked == "custom":
            context.set_response_status(418, "I am a teapot", place)
            context.set_response_header(place, "X-Kept", "Yes")
            context.set_response_content_type(place, "text/tea")
            answers.append("short and stout")
        elif asked == "raise":
            raise ValueError("the handler's own words")
        elif asked == "no list":
            return "text"
        elif asked == "too many":
            return [1, 2]
        elif asked == "set":
            return [{1, 2}]
        elif asked == "cuda":
            raise RuntimeError("CUDA out of memory")
        elif asked == "prediction":
            from ts.utils.util import PredictionException
            raise PredictionException("not today", 413)
        else:
            answers.append({"row": shown, "header": context.get_request_header(place, "x-mine"),
                            "explain": context.get_request_header(place, "explain")})
    return answers
"""


def test_inputs_outputs_headers_and_errors(serve: Start) -> None:
    server = serve({"echo": ECHO}, max_request_size=1000)
    client = server.client
    url = "/predictions/echo"

    plain = client.post(url, content=b"abc", headers={"X-Mine": "yes"})
    assert plain.status_code == 200
    assert plain.reason_phrase == "OK"
    assert plain.headers["content-type"] == "application/json"
    assert plain.headers["pragma"] == "no-cache"
    assert len(plain.headers["x-request-id"]) == 36
    assert plain.json() == {"row": {"body": ["bytearray", "abc"]}, "header": "yes", "explain": "False"}

    assert client.post(url, json={"a": 1}).json()["row"] == {"body": ["dict", {"a": 1}]}
    broken = client.post(url, content=b"{", headers={"content-type": "application/json"})
    assert broken.json()["row"] == {"body": ["bytearray", "{"]}
    text = client.post(url, content="ä".encode(), headers={"content-type": "text/plain; charset=utf-8"})
    assert text.json()["row"] == {"body": ["str", "ä"]}
    assert client.post(url, data={"k": "v"}).json()["row"] == {"k": ["bytearray", "v"]}
    form = client.post(url, files={"data": ("x.bin", b"123"), "more": (None, b"4")})
    assert form.json()["row"] == {"data": ["bytearray", "123"], "more": ["bytearray", "4"]}
    java = client.post(url, files={"n": (None, "5", "text/plain"), "f": ("x", "[1]", "application/json")})
    assert java.json()["row"] == {"n": ["bytearray", "5"], "f": ["list", [1]]}
    picture = b"\x89PNG\r\n\x1a\n&=%" + bytes(range(256))
    named = client.post(url, content=picture, headers={"content-type": "application/x-www-form-urlencoded"})
    assert named.json()["row"] == {"body": ["bytearray", picture.decode("latin-1")]}
    assert client.get(url, params={"q": "1"}).json()["row"] == {
        "q": ["bytearray", "1"],
        "body": ["bytearray", ""],
    }
    assert client.post("/explanations/echo", content=b"").json()["explain"] == "True"
    for path in ("/invocations", "/models/echo/invoke", "/echo/predict", "/predictions/echo/1.0"):
        assert client.post(path, content=b"abc").json()["row"] == {"body": ["bytearray", "abc"]}, path

    outputs = {
        "text": ("hällo".encode(), "text/plain; charset=utf-8"),
        "bytes": (b"\x00\xff", "application/octet-stream"),
    }
    for asked, (body, kind) in outputs.items():
        answer = client.post(url, data={"answer": asked})
        assert (answer.content, answer.headers["content-type"]) == (body, kind)
    assert client.post(url, data={"answer": "none"}).content == b"null"
    assert client.post(url, data={"answer": "tensor"}).content[:2] == b"PK"
    custom = client.post(url, data={"answer": "custom"})
    assert (custom.status_code, custom.reason_phrase, custom.text) == (
        418,
        "I am a teapot",
        "short and stout",
    )
    assert (custom.headers["x-kept"], custom.headers["content-type"]) == ("Yes", "text/tea")
    assert custom.headers["connection"] == "close"

    errors = {
        "raise": (503, "Prediction failed", "ValueError: the handler's own words"),
        "no list": (503, "Invalid model predict output", "the handler returned str, not a list"),
        "too many": (
            503,
            "number of batch response mismatched",
            "the handler returned 2 results for 1 requests",
        ),
        "set": (503, "Unsupported model output data type.", None),
        "cuda": (507, "Out of resources", "RuntimeError: CUDA out of memory"),
        "prediction": (507, "not today", None),
    }
    for asked, (status, message, cause) in errors.items():
        failed = client.post(url, data={"answer": asked})
        body = failed.json()
        assert (failed.status_code, body["code"], body["message"]) == (status, status, message)
        assert body["type"] == "InternalServerException"
        assert cause is None or body["cause"].startswith(cause)

    missing = client.get("/predictions/nope")
    assert (
        missing.text
        == json.dumps(
            {"code": 404, "type": "ModelNotFoundException", "message": "Model not found: nope"}, indent=2
        )
        + "\n"
    )
    version = client.get("/predictions/echo/9")
    assert version.json()["message"] == "Model version: 9 does not exist for model: echo"
    assert client.get("/nothing/at/all/here").json()["type"] == "ResourceNotFoundException"
    assert client.post("/").status_code == 405
    large = client.post(url, content=b"x" * 5000)
    assert (large.status_code, large.json()["code"]) == (413, 413)
    assert len(large.headers["x-request-id"]) == 36
    assert client.get("/ping").json() == {"status": "Healthy"}

    ledger = server.stop()
    assert ledger["failed"] == len(errors)
    assert ledger["refused"] == 4


def test_invocations_must_name_one_of_several_models(serve: Start) -> None:
    server = serve({"one": ECHO, "two": ECHO})
    unnamed = server.client.post("/invocations", content=b"abc")
    assert (unnamed.status_code, unnamed.json()["type"], unnamed.json()["message"]) == (
        400,
        "BadRequestException",
        "Parameter model_name is required.",
    )
    for named in (
        server.client.post("/invocations?model_name=two", content=b"abc"),
        server.client.post("/invocations", data={"model_name": "two"}),
    ):
        assert named.status_code == 200
    unknown = server.client.post("/invocations?model_name=three")
    assert unknown.json()["message"] == "Model not found: three"


def test_an_answer_that_is_too_large_is_not_sent(serve: Start) -> None:
    server = serve({"echo": ECHO}, max_response_size=200)
    large = server.client.post("/predictions/echo", content=b"x" * 500)
    assert (large.status_code, large.json()["type"], large.json()["message"]) == (
        500,
        "InternalServerException",
        "Worker died.",
    )
    assert "max_response_size is 200" in large.json()["cause"]
    assert server.client.post("/predictions/echo", data={"answer": "text"}).text == "hällo"


DRAWS = """
import os, random, numpy, torch

DRAWN = f"{random.random()} {numpy.random.rand()} {float(torch.rand(()))}"

def handle(data, context):
    return data and [f"{os.getpid()} {DRAWN}"] * len(data)
"""


def test_workers_draw_random_numbers_of_their_own(serve: Start) -> None:
    server = serve({"draws": DRAWS}, "minWorkers: 2\nmaxWorkers: 2\n")
    drawn: dict[str, list[str]] = {}

    def both_have_answered() -> bool:
        with ThreadPoolExecutor(4) as threads:
            answers = threads.map(lambda _: server.client.post("/predictions/draws").text, range(20))
            drawn.update({pid: numbers for pid, *numbers in map(str.split, answers)})
        return len(drawn) == 2

    eventually(both_have_answered)
    for one, other in zip(*drawn.values(), strict=True):
        assert one != other
