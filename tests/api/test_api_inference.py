"""The inference URLs: what of a request reaches the handler, and whose handler it is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from api.calling import JSON, Answering, answer, call
from models.stand_in import House, registered
from torchkeeper.api.body import FormLimits
from torchkeeper.api.inference import InferenceApi
from torchkeeper.api.routes import Endpoint
from torchkeeper.api.streaming import Streamed
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import BadRequest, ModelNotFound, QueueFull
from torchkeeper.wire.messages import Input, Kind, Part, Reply

MEGABYTE = 1 << 20


class Named:
    """In the place of the registry: so many models of these names."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def names(self) -> tuple[str, ...]:
        return self._names


def asked(
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    models: Any = None,
    said: object = Reply(b"7"),
) -> tuple[Reply | Streamed, tuple[str, str | None, Input]]:
    """The answer, and what the model was asked."""

    async def run() -> tuple[Reply | Streamed, tuple[str, str | None, Input]]:
        ask: Any = Answering(said)
        api = InferenceApi(ask, models or Named("m"), MEGABYTE)
        request = call(method, target, body, headers)
        found = await api.endpoints()[request.match.route.endpoint](request)
        return found, ask.ones_in_parts[0]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "name", "version", "kind", "url_path"),
    [
        ("/predictions/m", "m", None, Kind.PREDICT, None),
        ("/predictions/m/2.0", "m", "2.0", Kind.PREDICT, None),
        ("/predictions/m/2.0/a/b%20c", "m", "2.0", Kind.PREDICT, "a/b c"),
        ("/explanations/m", "m", None, Kind.EXPLAIN, None),
        ("/explanations/m/2.0/a", "m", "2.0", Kind.EXPLAIN, "a"),
        ("/models/m/invoke", "m", None, Kind.PREDICT, None),
        ("/m/predict", "m", None, Kind.PREDICT, None),
        ("/m/2.0/predict", "m", "2.0", Kind.PREDICT, None),
        ("/invocations", "m", None, Kind.PREDICT, None),
    ],
)
def test_whom_a_url_asks_and_for_what(
    target: str, name: str, version: str | None, kind: Kind, url_path: str | None
) -> None:
    reply, (model, wanted, request) = asked("POST", target, b"x")
    assert reply == Reply(b"7")
    assert (model, wanted) == (name, version)
    assert (request.request_id, request.kind, request.envelope) == ("id-1", kind, None)
    assert request.headers.get("url_path") == url_path


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("target", "body", "content_type", "parts"),
    [
        ("/predictions/m", b"x", None, (Part("body", b"x"),)),
        ("/predictions/m", b"{}", JSON, (Part("body", b"{}", JSON),)),
        ("/predictions/m", b"a=1&b=2", FORM, (Part("a", b"1"), Part("b", b"2"))),
        ("/predictions/m?q=1&r", b"x", None, (Part("q", b"1"), Part("r", b""), Part("body", b"x"))),
        ("/predictions/m?a=0", b"a=1", FORM, (Part("a", b"0"), Part("a", b"1"))),
    ],
)
def test_query_and_body_become_parameters(
    target: str, body: bytes, content_type: str | None, parts: tuple[Part, ...]
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    _, (_, _, request) = asked("POST", target, body, headers)
    assert request.parts == parts


@pytest.mark.parametrize(
    ("body", "given", "seen"),
    [
        (b"", {}, {"content-length": "0"}),
        (b"", {"Content-Length": "0"}, {"Content-Length": "0"}),
        (b"", {"X-Mine": "1"}, {"X-Mine": "1", "content-length": "0"}),
        (b"ab", {"X-Mine": "1"}, {"X-Mine": "1"}),
    ],
)
def test_handlers_see_the_header_fields_and_one_length_of_no_body(
    body: bytes, given: dict[str, str], seen: dict[str, str]
) -> None:
    _, (_, _, request) = asked("POST", "/predictions/m", body, given)
    assert request.headers == seen


@pytest.mark.parametrize(
    ("target", "body", "headers", "model"),
    [
        ("/invocations", b"", {}, "only"),
        ("/invocations?model_name=other", b"", {}, "other"),
        ("/invocations", b"model_name=other", {"Content-Type": FORM}, "other"),
        ("/invocations?model_name=%ff", b"", {}, "\ufffd"),
    ],
)
def test_an_invocation_names_its_model_or_asks_the_only_one(
    target: str, body: bytes, headers: dict[str, str], model: str
) -> None:
    _, (found, version, _) = asked("POST", target, body, headers, models=Named("only"))
    assert (found, version) == (model, None)


def test_an_invocations_header_names_one_of_several_models() -> None:
    target = {"X-Amzn-SageMaker-Target-Model": "b.tar.gz"}
    _, (found, _, _) = asked("POST", "/invocations", b"", target, models=Named("a", "b"))
    assert found == "b"


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_an_invocation_has_to_name_one_of_several(names: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match="model_name is required"):
        asked("POST", "/invocations", models=Named(*names))


def test_what_the_model_cannot_answer_is_raised() -> None:
    for error in (ModelNotFound("m"), QueueFull("full")):
        with pytest.raises(type(error)):
            asked("POST", "/predictions/m", said=error)


def test_an_answer_in_parts_is_a_stream_in_the_form_that_is_accepted() -> None:
    for headers, events in (({}, False), ({"Accept": "text/event-stream"}, True)):
        found, _ = asked("POST", "/predictions/m", b"x", headers, said=Stream(Reply(b"1")))
        assert isinstance(found, Streamed)
        assert found.events is events


def test_ping_is_sick_when_workers_were_given_up() -> None:
    class Health:
        def __init__(self, healthy: bool, unready: list[str]) -> None:
            self._healthy = healthy
            self._unready = unready

        def healthy(self) -> bool:
            return self._healthy

        def unready(self) -> list[str]:
            return self._unready

    for healthy, unready, strict, status, word in (
        (True, [], False, 200, b"Healthy"),
        (False, [], False, 500, b"Unhealthy"),
        (True, ["m has 0 of 1 workers"], False, 200, b"Healthy"),
        (True, ["m has 0 of 1 workers"], True, 500, b"Unhealthy"),
        (True, [], True, 200, b"Healthy"),
    ):
        models: Any = Health(healthy, unready)
        api = InferenceApi(models, models, MEGABYTE, ping_ready=strict)
        reply = asyncio.run(answer(api.endpoints(), call("GET", "/ping")))
        assert (reply.status, reply.content_type) == (status, JSON)
        assert reply.body == b'{\n  "status": "' + word + b'"\n}\n'


def test_sagemaker_is_told_of_all_versions_workers(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def run() -> Reply:
        await registered(house, "m", "1.0", 2)
        await registered(house, "m", "2.0", 3)
        ask: Any = Answering(None)
        api = InferenceApi(ask, house.models, 4 * MEGABYTE)
        return await answer(api.endpoints(), call("GET", "/execution-parameters"))

    reply = asyncio.run(run())
    said = json.loads(reply.body)
    assert (said["MaxConcurrentTransforms"], said["MaxPayloadInMB"]) == (5, 4)
    assert (reply.status, reply.content_type) == (200, JSON)


def test_it_serves_what_the_inference_routes_lead_to() -> None:
    ask: Any = Answering(None)
    models: Any = Named()
    assert set(InferenceApi(ask, models, MEGABYTE).endpoints()) == {
        *(Endpoint.PING, Endpoint.PREDICT, Endpoint.INVOKE, Endpoint.EXECUTION_PARAMETERS),
    }


@pytest.mark.parametrize(("headers", "seconds"), [({}, None), ({"X-Server-Timeout": "3"}, 3.0)])
def test_the_queue_hears_how_long_the_client_waits(headers: dict[str, str], seconds: float | None) -> None:
    async def run() -> list[float | None]:
        ask: Any = Answering(Reply(b"7"))
        models: Any = Named("m")
        request = call("POST", "/predictions/m", b"", headers)
        await InferenceApi(ask, models, MEGABYTE).endpoints()[request.match.route.endpoint](request)
        return ask.patience  # type: ignore[no-any-return]

    assert asyncio.run(run()) == [seconds]


@pytest.mark.parametrize(
    ("target", "body", "headers"),
    [
        ("/predictions/m?a=1&b=2", b"", {}),
        ("/predictions/m", b"a=1&b=2", {"content-type": "application/x-www-form-urlencoded"}),
        ("/predictions/m", b"&" * (1 << 16), {"content-type": "application/x-www-form-urlencoded"}),
    ],
)
def test_forms_have_the_bounds_that_the_settings_say(
    target: str, body: bytes, headers: dict[str, str]
) -> None:
    async def run() -> None:
        ask: Any = Answering(Reply(b"7"))
        api = InferenceApi(ask, Named("m"), MEGABYTE, FormLimits(parts=1, fields=1))  # type: ignore[arg-type]
        request = call("POST", target, body, headers)
        with pytest.raises(BadRequest, match="it has more than 1 fields"):
            await api.endpoints()[request.match.route.endpoint](request)

    asyncio.run(run())
