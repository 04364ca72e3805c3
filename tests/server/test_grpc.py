"""TorchServe's inference service by gRPC on a real server: answers, statuses, streams, cancels, ledger."""

from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import grpc
import pytest
from rpc_client import Client, refusal  # type: ignore[import-not-found]  # likewise

from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    Server,
    Start,
    eventually,
)
from torchkeeper.deadlines import DRAIN
from torchkeeper.rpc.schema import INFERENCE, MANAGEMENT, message

pytestmark = pytest.mark.slow

PredictionsRequest = message("org.pytorch.serve.grpc.inference.PredictionsRequest")

#: Answers with what it got; the text asks for other things.
ECHO = """
import json, os, time
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    if data is None:
        return None
    answers = []
    for index, row in enumerate(data):
        text = bytes(row.get("data", b"")).decode()
        if text == "raise":
            raise ValueError("no such digit")
        if text == "teapot":
            context.set_response_status(418, "I am a teapot", index)
        if text == "missing":
            context.set_response_status(404, "", index)
            text = "no such thing"
        if text == "die":
            os._exit(3)
        if text.startswith("wait for "):
            while not os.path.exists(text.removeprefix("wait for ")):
                time.sleep(0.01)
        if text.startswith("parts "):
            for part in text.split()[1:]:
                send_intermediate_predict_response([part], context.request_ids, "", 200, context)
            if text.endswith(" die"):
                os._exit(3)
            text = "end"
        if text.startswith("touch "):
            open(text.removeprefix("touch "), "w").close()
        if text == "row":
            text = json.dumps({
                "names": sorted(row),
                "types": sorted({type(value).__name__ for value in row.values()}),
                "sequence": context.get_request_header(index, "ts_request_sequence_id"),
            })
        answers.append(text)
    return answers
"""


@pytest.fixture
def server(serve: Start) -> Server:
    running: Server = serve({"echo": ECHO}, enable_model_api="true", job_queue_size=4)
    eventually(lambda: running.manage.get("/v1/models/echo").json()["ready"])
    return running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(server.grpc)
    yield made
    made.channel.close()


def test_ping_and_predictions(server: Server, client: Client) -> None:
    assert client[INFERENCE, "Ping"]().health == '{\n  "status": "Healthy"\n}\n'
    predict = client[INFERENCE, "Predictions"]
    answer = predict(model_name="echo", input={"data": b"hello"})
    assert (answer.prediction, answer.HasField("sequence_id")) == (b"hello", False)
    row = predict(model_name="echo", model_version="1.0", input={"data": b"row", "b": b""}, sequence_id="s1")
    assert json.loads(row.prediction) == {"names": ["b", "data"], "types": ["bytearray"], "sequence": "s1"}
    assert row.sequence_id == "s1"
    assert server.stop()["answered"] >= 3
    log = (server.folder / "logs" / "access_log.log").read_text()
    assert re.search(
        r'- /127\.0\.0\.1:\d+ "gRPC org\.pytorch\.serve\.grpc\.inference\.InferenceAPIsService/'
        r'Predictions HTTP/2\.0" 0 \d+\n',
        log,
    )


WAITS = """
import os, time

def handle(data, context):
    if data is None:
        return None
    for row in data:
        text = bytes(row.get("data", b"")).decode()
        if text.startswith("wait for "):
            name = text.removeprefix("wait for ")
            open(name + ".begun", "w").close()
            while not os.path.exists(name):
                if context.cancelled:
                    open(name + ".left", "w").close()
                    break
                time.sleep(0.01)
        elif text.startswith("touch "):
            open(text.removeprefix("touch "), "w").close()
    return [b"done"] * len(data)
"""

JAVA = "org.pytorch.serve"


def test_statuses(server: Server, client: Client) -> None:
    predict = client[INFERENCE, "Predictions"]

    def asked(text: bytes = b"", name: str = "echo", version: str = "") -> tuple[str, str]:
        found: tuple[str, str] = refusal(
            lambda: predict(model_name=name, model_version=version, input={"data": text})
        )
        return found

    assert asked(name="nope") == (
        "NOT_FOUND",
        f"Model not found: nope\n{JAVA}.archive.model.ModelNotFoundException",
    )
    assert asked(version="9") == (
        "NOT_FOUND",
        "Model version: 9 does not exist for model: echo\n"
        f"{JAVA}.archive.model.ModelVersionNotFoundException",
    )
    assert asked(name="") == (
        "INVALID_ARGUMENT",
        f"Parameter model_name is required.\n{JAVA}.http.BadRequestException",
    )
    assert asked(b"raise") == ("UNAVAILABLE", f"Prediction failed\n{JAVA}.http.InternalServerException")
    assert asked(b"teapot") == ("FAILED_PRECONDITION", f"teapot\n{JAVA}.http.InternalServerException")
    assert asked(b"missing") == ("NOT_FOUND", f"no such thing\n{JAVA}.http.InternalServerException")
    assert asked(b"die") == ("INTERNAL", f"Worker died.\n{JAVA}.http.InternalServerException")
    too_large = refusal(lambda: predict(model_name="echo", input={"data": bytes(7_000_000)}))
    assert too_large[0] == "RESOURCE_EXHAUSTED"
    assert predict(model_name="echo", input={"data": bytes(6_000_000)}).prediction == bytes(6_000_000)
    server.manage.put("/models/echo?min_worker=0&synchronous=true").raise_for_status()
    code, details = asked()
    assert code == "UNAVAILABLE"
    assert details.startswith('Model "echo" has no worker to serve inference request.')
    metrics = server.metrics.get("/metrics").text
    assert re.search(r"Requests2XX\{[^}]*\} \d", metrics)
    assert re.search(r"Requests4XX\{[^}]*\} 5", metrics)
    ledger = server.stop()
    assert (ledger["refused"], ledger["failed"]) == (4, 2)


def accepted(server: Server) -> float:
    """Requests that were taken into a queue."""
    found = re.findall(r"^ts_inference_requests_total\{.*\} (.*)$", server.metrics.get("/metrics").text, re.M)
    return sum(float(number) for number in found)


def test_a_deadline_and_a_cancel_reach_the_queue(serve: Start) -> None:
    server: Server = serve({"waits": WAITS}, config="minWorkers: 1\nbatchSize: 1\n")
    client = Client(server.grpc)
    call = client.future(INFERENCE, "Predictions")
    ask = client[INFERENCE, "Predictions"]
    gate = server.folder / "gate"

    def fields(text: str) -> dict[str, object]:
        return {"model_name": "waits", "input": {"data": text.encode()}}

    running = call(**fields(f"wait for {gate}"))
    eventually((server.folder / "gate.begun").exists)
    touched = [server.folder / f"touched-{number}" for number in range(2)]
    late = call(timeout=2, **fields(f"touch {touched[0]}"))
    eventually(lambda: accepted(server) == 2)
    left = call(**fields(f"touch {touched[1]}"))
    eventually(lambda: accepted(server) == 3)
    assert refusal(late.result)[0] == "DEADLINE_EXCEEDED"
    left.cancel()
    log = server.folder / "logs" / "access_log.log"
    eventually(lambda: log.read_text().count('Predictions HTTP/2.0" 1 ') == 2)
    assert not (server.folder / "gate.left").exists()
    running.cancel()
    eventually((server.folder / "gate.left").exists)
    assert ask(**fields("")).prediction == b"done"
    assert not [path for path in touched if path.exists()], "what was given up has not been computed"
    client.channel.close()
    ledger = server.stop()
    assert ledger["gone"] == 3


def test_a_full_queue(serve: Start) -> None:
    server: Server = serve({"waits": WAITS}, config="minWorkers: 1\nbatchSize: 1\n", job_queue_size=1)
    client = Client(server.grpc)
    gate = server.folder / "gate"
    text = f"wait for {gate}".encode()
    call = client.future(INFERENCE, "Predictions")
    asked = [call(model_name="waits", input={"data": text}) for _ in range(5)]
    eventually(lambda: sum(one.done() for one in asked) >= 3)
    gate.touch()
    codes = [one.code().name for one in asked]
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
    client.channel.close()
    server.stop()


def test_streams(server: Server, client: Client) -> None:
    def stream(text: bytes) -> list[bytes]:
        answer = client[INFERENCE, "StreamPredictions"](model_name="echo", input={"data": text})
        return [part.prediction for part in answer]

    assert stream(b"parts a b c") == [b"a", b"b", b"c", b"end"]
    assert stream(b"plain") == [b"plain"]
    assert (
        client[INFERENCE, "Predictions"](model_name="echo", input={"data": b"parts a b"}).prediction
        == b"abend"
    )
    assert refusal(lambda: stream(b"raise"))[0] == "UNAVAILABLE"
    assert refusal(lambda: stream(b"missing")) == (
        "NOT_FOUND",
        f"no such thing\n{JAVA}.http.InternalServerException",
    )
    answer = client[INFERENCE, "StreamPredictions"](model_name="echo", input={"data": b"parts a die"})
    assert next(answer).prediction == b"a"
    assert refusal(lambda: list(answer))[0] == "INTERNAL"
    assert stream(b"after") == [b"after"]


def test_many_requests_on_one_stream(server: Server, client: Client) -> None:
    texts = (b"one", b"parts a b", b"raise", b"two")

    def requests() -> Iterator[object]:
        yield PredictionsRequest(model_name="echo", input={"data": b"lost"})
        for text in texts:
            yield PredictionsRequest(model_name="echo", input={"data": text}, sequence_id="s")
        yield PredictionsRequest(model_name="nope", sequence_id="s")

    answers = list(client[INFERENCE, "StreamPredictions2"](request=requests()))
    assert [(answer.prediction, answer.status.code, answer.status.message) for answer in answers] == [
        (b"", 13, "Parameter sequenceId is required."),
        (b"one", 0, ""),
        (b"a", 0, ""),
        (b"b", 0, ""),
        (b"end", 0, ""),
        (b"", 14, "Prediction failed"),
        (b"two", 0, ""),
        (b"", 5, "Model not found: nope"),
    ]
    assert [answer.sequence_id for answer in answers] == ["", *["s"] * 7]
    ledger = server.stop()
    assert (ledger["refused"], ledger["failed"]) == (2, 1)


def test_a_client_that_leaves_a_stream_of_many_leaves_nothing_behind(server: Server, client: Client) -> None:
    gate = server.folder / "gate"

    def requests() -> Iterator[object]:
        for number in count():
            text = f"wait for {gate}" if number == 0 else "never"
            yield PredictionsRequest(model_name="echo", input={"data": text.encode()}, sequence_id="s")

    answers = client[INFERENCE, "StreamPredictions2"](request=requests())
    eventually(lambda: server.manage.get("/models/echo").json()[0]["jobQueueStatus"]["pendingRequests"] > 0)
    answers.cancel()
    gate.touch()
    assert client[INFERENCE, "Predictions"](model_name="echo", input={"data": b"x"}).prediction == b"x"
    assert server.stop()["gone"] > 0


def test_running_calls_are_answered_when_the_server_stops(server: Server, client: Client) -> None:
    gate = server.folder / "gate"
    running = client.future(INFERENCE, "Predictions")(
        model_name="echo", input={"data": f"wait for {gate}".encode()}
    )
    eventually(lambda: accepted(server) == 1)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(server.stop)
        server.wait_for("Stopping: no new connections")
        gate.touch()
        assert running.result().prediction == f"wait for {gate}".encode()
        stopped.result()


def test_a_whole_stream_of_many_ends_well_although_the_server_stops(server: Server, client: Client) -> None:
    gate = server.folder / "gate"
    texts = (f"wait for {gate}", "two")
    requests = iter(
        [
            PredictionsRequest(model_name="echo", input={"data": text.encode()}, sequence_id="s")
            for text in texts
        ]
    )
    answers = client[INFERENCE, "StreamPredictions2"](request=requests)
    eventually(lambda: accepted(server) == 2)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(server.stop)
        server.wait_for("Stopping: no new connections")
        gate.touch()
        assert [answer.prediction.decode() for answer in answers] == list(texts)
        stopped.result()


LARGE = """
def handle(data, context):
    return None if data is None else parts(len(data))

def parts(count):
    for _ in range(200):
        yield [bytes(500_000)] * count
"""


def test_who_reads_too_slowly_is_told_so(serve: Start) -> None:
    server: Server = serve({"large": LARGE}, config="minWorkers: 1\nresponseTimeout: 1\n")
    client = Client(server.grpc)
    request = PredictionsRequest(model_name="large", input={"data": b"x"}, sequence_id="s")
    for number, (name, sent) in enumerate(
        (("StreamPredictions", request), ("StreamPredictions2", iter([request]))), 1
    ):
        answers = client[INFERENCE, name](request=sent)
        next(answers)
        eventually(lambda number=number: server.output.count("PredictionTime.ms") == number)
        assert refusal(lambda answers=answers: list(answers)) == (
            "CANCELLED",
            "The answer was read too slowly.",
        )
    client.channel.close()
    assert server.stop()["gone"] == 2


def test_a_management_call_is_carried_out_although_its_client_leaves(server: Server, client: Client) -> None:
    gate = server.folder / "gate"
    running = client.future(INFERENCE, "Predictions")(
        model_name="echo", input={"data": f"wait for {gate}".encode()}
    )
    eventually(lambda: accepted(server) == 1)
    workers = server.workers()
    manage = Client(server.grpc_manage)
    code, _ = refusal(lambda: manage[MANAGEMENT, "UnregisterModel"](model_name="echo", timeout=0.5))
    assert code == "DEADLINE_EXCEEDED"
    gate.touch()
    assert running.result().prediction == f"wait for {gate}".encode()
    eventually(lambda: not any(worker.is_running() for worker in workers))
    manage.channel.close()


def test_a_stream_that_waits_for_more_does_not_hold_up_the_stop(server: Server, client: Client) -> None:
    more: queue.SimpleQueue[object] = queue.SimpleQueue()
    more.put(PredictionsRequest(model_name="echo", input={"data": b"one"}, sequence_id="s"))
    answers = client[INFERENCE, "StreamPredictions2"](request=iter(more.get, None))
    assert next(answers).prediction == b"one"
    with grpc.insecure_channel(server.grpc) as channel:
        # A call that this project's code does not see, and that its client never ends.
        open_call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        reflected = open_call(iter(more.get, None))
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < DRAIN
        # Which of them, grpc's core decides: the call's end, or the connection's, may reach the client first.
        assert refusal(lambda: next(reflected))[0] in ("UNAVAILABLE", "CANCELLED")
    assert refusal(lambda: next(answers)) == (
        "UNAVAILABLE",
        f"The server is stopping.\n{JAVA}.http.ServiceUnavailableException",
    )
    for _ in range(2):
        more.put(None)
