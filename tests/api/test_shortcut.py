"""Which requests are answered without the application, and what is handed on to it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from calling import Answering  # type: ignore[import-not-found]

from torchkeeper.api.application import Application
from torchkeeper.api.body import FormLimits
from torchkeeper.api.call import Call, Handler
from torchkeeper.api.routes import Endpoint, resolve
from torchkeeper.api.shortcut import Shortcut
from torchkeeper.errors import DeadlinePassed, PredictionFailed, QueueFull
from torchkeeper.http.head import Head
from torchkeeper.keys.key import Key
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.serving.apis import Api
from torchkeeper.serving.ask import ClientGone
from torchkeeper.serving.books import Books
from torchkeeper.wire.messages import Kind, Part, Reply

KNOWN = (b"/predictions/m", b"/explanations/m", b"/predictions/m/2.0", b"/predictions/m/2.0/deeper", b"/ping")


async def predict(call: Call) -> Reply:
    raise AssertionError("the application is not asked")


async def ping(call: Call) -> Reply:
    return Reply(b"")


class Whole:
    """A request on its connection, and what became of it."""

    def __init__(self, target: bytes, body: bytes | None, method: bytes, fields: dict[bytes, bytes]) -> None:
        self.head = Head()
        self.head.method, self.head.target = method, target
        self.head.fields = list(fields.items())
        self.head.lowered = [(name.lower(), value) for name, value in fields.items()]
        self.body = body
        self.client = "192.0.2.1"
        self.ticket: asyncio.Future[Any] | None = None
        self.on_gone: Callable[[], None] = lambda: None
        self.replied: list[tuple[Any, ...]] = []
        self.apps: list[Any] = []
        self.taken = False

    def begin(self, ticket: asyncio.Future[Any], on_gone: Callable[[], None]) -> None:
        self.ticket, self.on_gone = ticket, on_gone

    def take(self) -> None:
        self.taken = True

    def reply(
        self, status: int, reason: bytes | None, fields: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        self.replied.append((status, reason, dict(fields), body))

    def reply_plainly(self, request_id: bytes, fields: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        length = b"content-length", b"%d" % len(body)
        self.reply(200, None, [(b"x-request-id", request_id), *fields, length], body)

    def go_on(self, app: Any) -> None:
        self.apps.append(app)


class Door:
    """A shortcut with its application, and who answers behind it."""

    def __init__(self, answer: object, guard: Any = None) -> None:
        self.ledger = Ledger()
        self.statuses: list[int] = []
        books = Books(self.ledger, guard, self.statuses.append)
        handlers: dict[Endpoint, Handler] = {Endpoint.PREDICT: predict, Endpoint.PING: ping}
        application = Application(Api.INFERENCE, handlers, books, max_body=1000)
        for path in KNOWN:
            match = resolve(path, "POST", Api.INFERENCE)
            application.known[path, "POST"] = match, handlers[match.route.endpoint]
        self.ask = Answering(answer)
        asker: Any = self.ask
        self.shortcut = Shortcut(application, predict, asker, books, FormLimits()).take

    async def post(
        self, target: bytes, body: bytes | None = b"x", method: bytes = b"POST", **fields: bytes
    ) -> Whole | None:
        """The request, if it was taken, after what can happen has happened."""
        named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
        request = Whole(target, body, method, named)
        if not self.shortcut(request):
            return None
        await asyncio.sleep(0)
        return request


def test_a_whole_prediction_is_queued_and_answered() -> None:
    async def run() -> None:
        door = Door(Reply(b"3", 201, "Made", {"X-Kept": "yes"}, "text/plain"))
        found = await door.post(b"/predictions/m", b"body", Content_Type=b"image/png", X_Mine=b"yes")
        assert found is not None
        ((name, version, request),) = door.ask.ones_in_parts
        assert (name, version, request.kind) == ("m", None, Kind.PREDICT)
        assert request.parts == (Part("body", b"body", "image/png"),)
        assert request.headers == {"Content-Type": "image/png", "X-Mine": "yes"}
        ((status, reason, fields, body),) = found.replied
        assert (status, reason, body) == (201, b"Made", b"3")
        assert fields[b"x-request-id"].decode() == request.request_id
        assert (fields[b"X-Kept"], fields[b"content-type"]) == (b"yes", b"text/plain")
        assert fields[b"content-length"] == b"1"
        assert (door.ledger.accepted, door.ledger.answered, door.statuses) == (1, 1, [201])

    asyncio.run(run())


def test_an_answer_without_headers_of_its_own_has_the_server_s() -> None:
    async def run() -> None:
        door = Door(Reply(b"3", content_type="text/plain"))
        first, second = await door.post(b"/predictions/m"), await door.post(b"/predictions/m")
        assert first is not None
        assert second is not None
        ((status, reason, fields, body),) = first.replied
        assert (status, reason, body) == (200, None, b"3")
        assert next(iter(fields)) == b"x-request-id"
        assert fields[b"Pragma"] == b"no-cache"
        assert (fields[b"content-type"], fields[b"content-length"]) == (b"text/plain", b"1")
        ids = [request.replied[0][2].pop(b"x-request-id") for request in (first, second)]
        assert ids[0] != ids[1]
        assert first.replied == second.replied

    asyncio.run(run())


def test_nothing_of_a_request_that_was_answered_waits_for_the_garbage_collector() -> None:
    async def run() -> None:
        door = Door(Reply(b"3"))
        gc.collect()
        gc.disable()
        try:
            request = await door.post(b"/predictions/m")
            assert request is not None
            assert request.replied
            gone = weakref.ref(request)
            door.ask.ones_in_parts.clear()
            del request
            assert gone() is None
        finally:
            gc.enable()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "kind", "version"),
    [
        (b"/predictions/m", Kind.PREDICT, None),
        (b"/explanations/m", Kind.EXPLAIN, None),
        (b"/predictions/m/2.0", Kind.PREDICT, "2.0"),
    ],
)
def test_routes_that_are_taken(target: bytes, kind: Kind, version: str | None) -> None:
    async def run() -> None:
        door = Door(Reply(b""))
        assert await door.post(target)
        ((_, asked, request),) = door.ask.ones_in_parts
        assert (asked, request.kind) == (version, kind)

    asyncio.run(run())


@pytest.mark.parametrize(
    "asked",
    [
        {"target": b"/predictions/new"},
        {"target": b"/predictions/m?x=1"},
        {"target": b"/predictions/m/2.0/deeper"},
        {"target": b"/ping"},
        {"method": b"PUT"},
        {"body": None},
        {"body": b""},
        {"endpoint_load_metrics_format": b"TEXT"},
        {"x_server_timeout": b"3"},
        {"body": b"a=%b" % bytes(1 << 16), "content_type": b"application/x-www-form-urlencoded"},
        {"body": b"a=1&" * 20_000, "content_type": b"application/x-www-form-urlencoded"},
        {"body": bytes(70_000), "content_type": b"multipart/form-data" + b"; a=b" * 70},
    ],
)
def test_what_is_left_to_the_application(asked: dict[str, Any]) -> None:
    async def run() -> None:
        door = Door(Reply(b""))
        assert await door.post(**{"target": b"/predictions/m", **asked}) is None
        assert not door.ask.ones_in_parts
        assert door.ledger.accepted == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "taken"), [(b"Bearer right", True), (b"Bearer wrong", False), (None, False)]
)
def test_only_who_has_the_key_is_taken_and_a_wrong_one_is_no_guess_yet(
    sent: bytes | None, taken: bool
) -> None:
    guesses: list[str | None] = []

    class Guard:
        def check(self, need: Key, authorization: str | None, client: str) -> float:
            guesses.append(authorization)
            return 0.0

        def at_once(self, need: Key, authorization: str | None, client: str) -> bool:
            assert (need, client) == (Key.INFERENCE, "192.0.2.1")
            return authorization == "Bearer right"

    async def run() -> None:
        door = Door(Reply(b""), Guard())
        fields = {} if sent is None else {"Authorization": sent}
        assert (await door.post(b"/predictions/m", **fields) is not None) == taken
        assert not guesses

    asyncio.run(run())


async def told(request: Whole) -> list[dict[str, Any]]:
    """What the application sends that is to answer after all."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    assert not request.replied
    (app,) = request.apps
    await app({"raw_path": b"/predictions/m", "method": "POST"}, None, send)
    return sent


@pytest.mark.parametrize("outcome", [PredictionFailed("no", status=503), ValueError("a bug")])
def test_what_is_no_reply_the_application_answers(outcome: Exception) -> None:
    async def run() -> None:
        door = Door(outcome)
        found = await door.post(b"/predictions/m")
        assert found is not None
        sent = await told(found)
        assert sent[0]["status"] == (503 if isinstance(outcome, PredictionFailed) else 500)
        ((_, _, request),) = door.ask.ones_in_parts
        assert dict(sent[0]["headers"])[b"x-request-id"].decode() == request.request_id
        assert (door.ledger.accepted, door.ledger.failed) == (1, 1)

    asyncio.run(run())


@pytest.mark.parametrize(("why", "status"), [(QueueFull("full"), 503), (ValueError("a bug"), 500)])
def test_who_is_not_taken_is_asked_for_once_and_told(why: Exception, status: int) -> None:
    async def run() -> None:
        door = Door(None)
        door.ask.refuses = why
        found = await door.post(b"/predictions/m")
        assert found is not None
        assert found.taken
        assert (await told(found))[0]["status"] == status
        assert len(door.ask.ones_in_parts) == 1
        refused = isinstance(why, QueueFull)
        assert (door.ledger.accepted, door.ledger.refused, door.ledger.failed) == (1, refused, not refused)

    asyncio.run(run())


def test_a_key_that_ends_meanwhile_does_not_cost_the_answer() -> None:
    class Guard:
        def check(self, need: Key, authorization: str | None, client: str) -> float:
            raise AssertionError("it was looked at when the request came")

        def at_once(self, need: Key, authorization: str | None, client: str) -> bool:
            return True

    async def run() -> None:
        found = await Door(PredictionFailed("no", status=503), Guard()).post(b"/predictions/m")
        assert found is not None
        assert (await told(found))[0]["status"] == 503

    asyncio.run(run())


def test_who_leaves_or_is_cancelled_takes_the_request_back() -> None:
    async def run() -> None:
        for end, left in ((lambda one: one.on_gone(), 1), (lambda one: one.ticket.cancel(), 1)):
            door = Door(None)
            found = await door.post(b"/predictions/m")
            assert found is not None
            end(found)
            await asyncio.sleep(0)
            assert door.ask.left == left
            (app,) = found.apps
            scope = {"raw_path": b"/predictions/m", "method": "POST"}
            try:
                await app(scope, None, None)
            except asyncio.CancelledError:
                assert found.on_gone is not None
            assert (door.ledger.accepted, door.ledger.gone) == (1, 1)

    asyncio.run(run())


def test_a_client_that_left_is_told_apart_from_a_server_that_ends() -> None:
    async def run() -> None:
        told: list[Any] = []
        asked = Answering(None).in_parts("m", None, None)  # type: ignore[arg-type]  # nobody reads it
        asked.then(told.append)
        asked.leave()
        other = Answering(None).in_parts("m", None, None)  # type: ignore[arg-type]  # nobody reads it
        other.then(told.append).cancel()
        late = Answering(None).in_parts("m", None, None)  # type: ignore[arg-type]  # nobody reads it
        done = late.then(told.append)
        late.within(0.0)
        await asyncio.wait([done])
        assert [type(one) for one in told] == [ClientGone, asyncio.CancelledError, DeadlinePassed]

    asyncio.run(run())
