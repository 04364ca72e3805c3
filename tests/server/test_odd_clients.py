"""Whatever bytes clients send, by every route and RPC and to several kinds of models: no worker ends by them.

ODD_INPUTS in the environment is how many are sent by each of HTTP and gRPC, instead of a few for each change.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers import BIN, EXAMPLE, Server, eventually, make_archive
from torchkeeper.rpc.schema import INFERENCE, MANAGEMENT, OPEN_INFERENCE, methods

INPUTS = int(os.environ.get("ODD_INPUTS", "1500"))
#: Inputs of one example.
AT_ONCE = 10
HANDLER = """
def handle(data, context):
    return [str(type(row))[:80] for row in data or ()]
"""
STREAMING = """
def handle(data, context):
    yield ["a"] * len(data)
    return ["b"] * len(data)
"""
MODELS = ("mnist", "plain", "streaming", "none")

pytestmark = pytest.mark.slow
bounded = settings(
    max_examples=INPUTS // AT_ONCE, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("odd")
    store = folder / "model_store"
    store.mkdir()
    subprocess.run(
        [
            BIN / "torch-model-archiver",
            *("--model-name", "mnist", "--version", "1.0", "--export-path", store),
            *("--model-file", EXAMPLE / "mnist.py", "--serialized-file", EXAMPLE / "mnist_cnn.pt"),
            *("--handler", EXAMPLE / "mnist_handler.py"),
        ],
        check=True,
    )
    make_archive(store, "plain", HANDLER)
    make_archive(store, "streaming", STREAMING)
    given = ("mnist=mnist.mar", "plain=plain-1.0.mar", "streaming=streaming-1.0.mar")
    server = Server(folder, given, {"default_workers_per_model": 1})
    eventually(lambda: server.client.get("/v2/health/ready").status_code == 200)
    pids = sorted(worker.pid for worker in server.workers())
    yield server
    assert sorted(worker.pid for worker in server.workers()) == pids
    ledger = server.stop()
    assert ledger["failed"] + ledger["answered"] + ledger["refused"] > 0


NAMES = (b'; name="data"', b'; name="a"; filename="b"', b"; name=", b"", b"; name*=utf-8''%ff")
KINDS = (b"", b"\r\nContent-Type: application/json", b"\r\nContent-Type: text/plain", b"\r\nX")


def part(some: tuple[bytes, bytes, bytes]) -> bytes:
    name, kind, value = some
    return b"--x\r\nContent-Disposition: form-data" + name + kind + b"\r\n\r\n" + value


forms = st.tuples(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS), st.binary(max_size=30)).map(part),
        max_size=4,
    ),
    st.sampled_from([b"\r\n--x--\r\n", b"", b"--", b"\r\n"]),
).map(lambda both: b"\r\n".join(both[0]) + both[1])

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=4) | values,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "FP16", "UINT8", "X"]) | values,
        "shape": st.lists(st.integers(-3, 2**40), max_size=4) | values,
        "data": values,
        "parameters": values,
    },
)
inputs = st.lists(tensors, max_size=3) | values
encoded = st.lists(st.fixed_dictionaries({"b64": st.text(max_size=8)}), max_size=2)
documents = st.one_of(
    values,
    st.fixed_dictionaries({"instances": values | encoded}),
    st.fixed_dictionaries({"inputs": inputs}, optional={"outputs": values, "id": values}),
).map(lambda value: json.dumps(value).encode())
picture = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
pictures = st.tuples(st.integers(0, len(picture)), st.binary(max_size=6)).map(
    lambda cut: picture[: cut[0]] + cut[1] + picture[cut[0] + len(cut[1]) :]
)
bodies = st.one_of(
    st.binary(max_size=80),
    documents,
    documents.flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end])),
    documents.map(gzip.compress),
    forms,
    pictures,
    st.just(b"[" * 3000),
    st.sampled_from([b"a=b&c", b"%zz=%00", b"=&=&", b"\xff\xfe{\0}\0", b"nul\0nul"]),
)
models = st.sampled_from(MODELS)
ROUTES = (
    *("/predictions/{m}", "/predictions/{m}/1.0", "/predictions/{m}/9", "/predictions/{m}/1.0/more"),
    *("/explanations/{m}", "/invocations", "/models/{m}/invoke", "/{m}/predict", "/{m}/1.0/predict"),
    *("/ping", "/execution-parameters", "/", "/api-description", "/docs", "/v2/repository/index"),
    *("/v1/models", "/v1/models/{m}", "/v1/models/{m}:predict", "/v1/models/{m}:explain"),
    *("/v2", "/v2/models", "/v2/models/{m}", "/v2/models/{m}/infer", "/v2/models/{m}/explain"),
    *("/v2/models/{m}/versions/1.0/infer", "/v2/health/ready"),
)
routes = st.sampled_from(ROUTES)
types = st.sampled_from(
    (
        *("application/json", "text/plain", "image/png", "application/octet-stream", "multipart/form-data"),
        *("multipart/form-data; boundary=x", 'multipart/form-data; boundary="', "", ";;", "\xff", "a" * 300),
        *("application/x-www-form-urlencoded", "text/csv", "application/x-npy"),
    )
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": types,
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "identity", "gzip, gzip"]),
        "Accept": st.sampled_from(["text/event-stream", "application/json", "*/*", "q=", "a;q=2"]),
        "Accept-Encoding": st.sampled_from(["gzip", "deflate;q=0", "*"]),
        "Inference-Header-Content-Length": st.sampled_from(["0", "10", "-1", "x", "99999999999999999999"]),
        "explain": st.just("True"),
        "ts_request_sequence_id": st.text("ab", max_size=3),
        "X-Any": st.text(
            st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20
        ),
        "Authorization": st.sampled_from(["Bearer", "Bearer x", "Basic eA=="]),
    },
)
verbs = st.sampled_from(("POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"))
queries = st.sampled_from(
    ("", "?a=b", "?%ff", "?" + "a&" * 50, "?limit=x", "?model_name=none", "?customized=true")
)
requests = st.tuples(verbs, routes, models, queries, fields, bodies)


def ask(port: int, request: tuple[str, str, str, str, dict[str, str], bytes]) -> int:
    """The status of the answer to one request on a connection of its own."""
    verb, route, model, query, fields, body = request
    lines = [f"{verb} {route.format(m=model)}{query} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall("\r\n".join(lines).encode("latin-1") + body)
        said = b""
        while data := client.recv(1 << 16):
            said += data
    assert said.startswith(b"HTTP/1.1 "), said
    return int(said[9:12])


@bounded
@given(st.lists(requests, min_size=AT_ONCE, max_size=AT_ONCE))
def test_by_http(server: Server, some: list[Any]) -> None:
    for request in some:
        status = ask(server.port, request)
        # 503 is the handlers' own; a 500 would be the end of a worker or a fault of the server.
        assert status < 500 or status in (501, 503), (status, request)


SERVICES = {INFERENCE: "grpc", OPEN_INFERENCE: "grpc", MANAGEMENT: "grpc_manage"}
#: Those that change what is served are left out.
CALLS = [
    (f"/{method.path}", SERVICES[service], method)
    for service in SERVICES
    for method in methods(service)
    if method.name not in ("ScaleWorker",)
]
#: What a client may be told; UNAVAILABLE and, by the open protocol, INTERNAL are a handler's faults.
TOLD = {
    *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "UNAVAILABLE", "PERMISSION_DENIED", "UNIMPLEMENTED"),
    *("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ALREADY_EXISTS"),
}


def filled(kind: Any) -> st.SearchStrategy[bytes]:
    """Messages of a kind, some of whose fields say something."""

    def make(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
        message = kind()
        for field in message.DESCRIPTOR.fields:
            if not draw(st.booleans()):
                continue
            if field.name in ("name", "model_name"):
                setattr(message, field.name, draw(models))
            elif field.message_type is not None and field.message_type.GetOptions().map_entry:
                if field.name == "input":
                    message.input[draw(st.sampled_from(["data", "body", ""]))] = draw(bodies)
            elif field.name == "inputs":
                for _ in range(draw(st.integers(0, 2))):
                    tensor = message.inputs.add()
                    tensor.name = draw(st.text(max_size=4))
                    tensor.datatype = draw(
                        st.sampled_from(["FP32", "BYTES", "INT64", "BOOL", "FP16", "", "X"])
                    )
                    tensor.shape.extend(draw(st.lists(st.integers(-2, 2**40), max_size=3)))
                    tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=3)))
                    tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=5), max_size=2)))
            elif field.name == "raw_input_contents":
                message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=12), max_size=2)))
            elif field.type == field.TYPE_STRING and not field.is_repeated:
                setattr(message, field.name, draw(st.sampled_from(["", "1.0", "9", "\0", "../x", "x" * 300])))
        return bytes(message.SerializeToString())

    return st.composite(make)()


calls = st.sampled_from(CALLS).flatmap(
    lambda call: st.tuples(st.just(call), st.binary(max_size=60) | filled(call[2].request))
)


def called(channel: grpc.Channel, path: str, method: Any, data: bytes) -> None:
    """One call with these bytes, to its end."""
    if method.streams_in:
        list(channel.stream_stream(path)(iter([data]), timeout=60))
    elif method.streams_out:
        list(channel.unary_stream(path)(data, timeout=60))
    else:
        channel.unary_unary(path)(data, timeout=60)


@bounded
@given(st.lists(calls, min_size=AT_ONCE, max_size=AT_ONCE))
def test_by_grpc(server: Server, channels: dict[str, grpc.Channel], some: list[Any]) -> None:
    for (path, port, method), data in some:
        code = "OK"
        try:
            called(channels[port], path, method, data)
        except grpc.RpcError as error:
            code = error.code().name
        assert code in TOLD, (code, path, data)


@pytest.mark.parametrize(("path", "port", "method"), CALLS, ids=[call[0] for call in CALLS])
def test_bytes_that_are_no_message_are_the_callers_fault(
    channels: dict[str, grpc.Channel], path: str, port: str, method: Any
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        called(channels[port], path, method, b"\xff\xff\xff")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith("The message cannot be read: it is no request of this method.")


@pytest.mark.parametrize(
    "path",
    ["/x", "/x/y", f"/{INFERENCE}/predictions", f"/{INFERENCE}/Predictions/", f"//{INFERENCE}/Predictions"],
)
def test_paths_of_no_method(channels: dict[str, grpc.Channel], path: str) -> None:
    for channel in channels.values():
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(path)(b"", timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(scope="module")
def channels(server: Server) -> Iterator[dict[str, grpc.Channel]]:
    found = {port: grpc.insecure_channel(getattr(server, port)) for port in ("grpc", "grpc_manage")}
    yield found
    for channel in found.values():
        channel.close()
