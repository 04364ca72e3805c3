"""TorchServe's gRPC services on a real server: answers, statuses, streams, cancels, one ledger with REST."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from conftest import (  # type: ignore[import-not-found]  # pytest puts this folder on the path
    Server,
    Start,
    eventually,
)

from torchkeeper.rpc.schema import INFERENCE, methods

pytestmark = pytest.mark.slow

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


class Client:
    """Raw calls by full method name, with this project's messages."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.channel = (
            grpc.insecure_channel(target) if credentials is None else grpc.secure_channel(target, credentials)
        )

    def __getitem__(self, place: tuple[str, str]) -> Callable[..., Any]:
        service, name = place
        (method,) = (found for found in methods(service) if found.name == name)
        make = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, True): self.channel.stream_stream,
        }[method.streams_in, method.streams_out]
        call = make(f"/{method.path}", method.request.SerializeToString, method.reply.FromString)

        def ask(request: Any = None, timeout: float = 30, metadata: Any = None, **fields: Any) -> Any:
            sent = request if request is not None else method.request(**fields)
            return call(sent, timeout=timeout, metadata=metadata)

        return ask


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


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


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
