"""KServe v1: readiness, and how a request reaches the envelope that its URL stands for, packed or not."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from api.calling import JSON, MAX_BODY, Answering, answer, call
from models.stand_in import House, registered
from torchkeeper.api.kserve import KServeV1Api, compact
from torchkeeper.errors import BadRequest, ModelNotFound, RequestTooLarge, ServiceUnavailable, UnknownCoding
from torchkeeper.wire.messages import Input, Kind, Part, Reply

LONG = Reply(b"x" * 5000, 200, "", {"X-Mine": "1"}, JSON)


def inferred(
    target: str, body: bytes = b"{}", headers: dict[str, str] | None = None, said: object = Reply(b"7")
) -> tuple[Reply, tuple[str, str | None, Input]]:
    """The answer, and what the model was asked."""

    async def run() -> tuple[Reply, tuple[str, str | None, Input]]:
        ask: Any = Answering(said)
        models: Any = None
        reply = await answer(KServeV1Api(ask, models).endpoints(), call("POST", target, body, headers))
        return reply, ask.whole_ones[0]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "kind"), [("/v1/models/m:predict", Kind.PREDICT), ("/v1/models/m:explain", Kind.EXPLAIN)]
)
def test_the_body_goes_as_it_came_to_the_urls_envelope(target: str, kind: Kind) -> None:
    headers = {"Content-Type": JSON, "X-Mine": "1"}
    reply, (name, version, request) = inferred(target, b'{"instances": []}', headers)
    assert reply == Reply(b"7")
    assert (name, version) == ("m", None)
    assert request == Input("id-1", kind, (Part("body", b'{"instances": []}'),), headers, "kserve")


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
def test_a_packed_body_reaches_the_handler_unpacked(coding: str, pack: Any) -> None:
    headers = {"content-Encoding": coding, "X-Mine": "1"}
    _, (_, _, request) = inferred("/v1/models/m:predict", pack(b"{}"), headers)
    assert request.parts == (Part("body", b"{}"),)
    assert request.headers == {"X-Mine": "1"}


@pytest.mark.parametrize(
    ("body", "coding", "error"),
    [
        (b"no gzip", "gzip", BadRequest),
        (b"x", "br", UnknownCoding),
        (gzip.compress(bytes(MAX_BODY + 1), mtime=0), "gzip", RequestTooLarge),
    ],
)
def test_what_cannot_be_unpacked_asks_no_model(body: bytes, coding: str, error: type[Exception]) -> None:
    ask: Any = Answering(None)
    models: Any = None
    asked = call("POST", "/v1/models/m:predict", body, {"Content-Encoding": coding})
    with pytest.raises(error):
        asyncio.run(answer(KServeV1Api(ask, models).endpoints(), asked))
    assert ask.whole_ones == []


@pytest.mark.parametrize(
    ("coding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)], ids=["gzip", "deflate"]
)
def test_a_long_answer_is_packed_for_those_who_ask(coding: str, unpack: Any) -> None:
    reply, _ = inferred("/v1/models/m:predict", headers={"Accept-Encoding": coding}, said=LONG)
    assert unpack(reply.body) == LONG.body
    assert reply.headers == {"X-Mine": "1", "Content-Encoding": coding, "Vary": "Accept-Encoding"}
    assert (reply.status, reply.content_type) == (200, JSON)
    assert LONG.headers == {"X-Mine": "1"}


@pytest.mark.parametrize(
    ("accept", "said"),
    [
        (None, LONG),
        ("identity", LONG),
        ("br, gzip;q=0", LONG),
        ("gzip", Reply(b"x" * 1023)),
        ("gzip", Reply(b"x" * 5000, 200, "", {"content-encoding": "br"})),
    ],
)
def test_other_answers_stay_as_they_are(accept: str | None, said: Reply) -> None:
    headers = {} if accept is None else {"Accept-Encoding": accept}
    assert inferred("/v1/models/m:predict", headers=headers, said=said)[0] == said


def test_what_an_answer_varies_by_is_kept() -> None:
    said = Reply(b"x" * 5000, 200, "", {"vary": "Origin"})
    reply, _ = inferred("/v1/models/m:predict", headers={"Accept-Encoding": "gzip"}, said=said)
    assert reply.headers == {"vary": "Origin, Accept-Encoding", "Content-Encoding": "gzip"}


def test_errors_of_the_model_are_raised() -> None:
    with pytest.raises(ModelNotFound):
        inferred("/v1/models/m:predict", said=ModelNotFound("m"))


def test_the_server_is_alive_and_names_its_models(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def run() -> None:
        await registered(house, "m", workers=0)
        await registered(house, "n", workers=0)
        ask: Any = None
        endpoints = KServeV1Api(ask, house.models).endpoints()
        assert (await answer(endpoints, call("GET", "/"))).body == b'{"status":"alive"}'
        assert (await answer(endpoints, call("GET", "/v1/models"))).body == b'{"models":["m","n"]}'

    asyncio.run(run())


def test_a_model_is_ready_when_all_its_workers_are(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def run() -> None:
        found = await registered(house, "m", workers=2)
        ask: Any = None
        endpoints = KServeV1Api(ask, house.models).endpoints()
        asked = call("GET", "/v1/models/m")
        assert json.loads((await answer(endpoints, asked)).body) == {"name": "m", "ready": True}
        house.launcher.load_error = ""
        house.launcher.living[0].end(1)
        with pytest.raises(ServiceUnavailable) as raised:
            await answer(endpoints, asked)
        assert raised.value.text.startswith(
            "Model with name m is not ready: 1 of 2 workers are ready: the worker process left with exit code"
        )
        await found.scale(0, 0)
        with pytest.raises(ServiceUnavailable) as raised:
            await answer(endpoints, asked)
        assert raised.value.cause == "0 of 1 workers are ready"
        with pytest.raises(ModelNotFound):
            await answer(endpoints, call("GET", "/v1/models/none"))
        await house.models.stop(0.0)

    asyncio.run(run())


def test_answers_of_the_server_itself_are_compact_json() -> None:
    assert compact({"a": [1, "ü"]}, 503) == Reply('{"a":[1,"ü"]}'.encode(), 503, "", {}, JSON)
