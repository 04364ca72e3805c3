"""The inference service, the test being the worker: parts in, bytes out, whole and in parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from engine.stand_ins import until
from rpc import spoken
from torchkeeper.metrics.ledger import Ledger
from torchkeeper.rpc.calls import Calls
from torchkeeper.rpc.inference import PIPELINE, SEQUENCE_HEADER, InferenceService
from torchkeeper.rpc.schema import INFERENCE, message
from torchkeeper.serving.ask import Ask
from torchkeeper.serving.traffic import Traffic
from torchkeeper.wire.messages import Failure, Reply

PredictionsRequest = message("org.pytorch.serve.grpc.inference.PredictionsRequest")
JAVA = "org.pytorch.serve"


class Desk(spoken.OneModel):
    """One model, the service that leads to it, and its client."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ledger = Ledger()
        self.stopping = asyncio.Event()
        self.well = True
        self.client: Any = None

    def healthy(self) -> bool:
        return self.well

    def services(self, calls: Calls) -> spoken.Services:
        models: Any = self
        service = InferenceService(Ask(Traffic(models)), models, calls.books, self.stopping)
        return {INFERENCE: service.handlers(calls)}

    def begin(self, name: str, **fields: Any) -> Any:
        return self.client.begin(INFERENCE, name, **{"model_name": "m", **fields})

    async def refused(self, name: str, **fields: Any) -> tuple[str, ...]:
        code, details = await self.client.refusal(INFERENCE, name, **{"model_name": "m", **fields})
        return code, *details.split("\n")


def run(scene: Callable[[Desk], Awaitable[None]], **settings: Any) -> Ledger:
    ledger = Ledger()

    async def main() -> None:
        desk = Desk(**settings)
        desk.ledger = ledger
        async with spoken.served(desk.services, ledger) as desk.client:
            await scene(desk)

    spoken.run(main)
    return ledger


def outcome(ledger: Ledger) -> dict[str, int]:
    names = ("answered", "refused", "failed", "gone")
    return {name: count for name in names if (count := getattr(ledger, name))}


async def rest(stream: Any) -> list[Any]:
    """What comes of an answer in parts, to its end."""
    found = []
    while (part := await stream.read()) is not grpc.aio.EOF:
        found.append(part)
    return found


@pytest.mark.parametrize(("well", "word"), [(True, "Healthy"), (False, "Unhealthy")])
def test_a_ping_says_torchserves_word(well: bool, word: str) -> None:
    async def scene(desk: Desk) -> None:
        desk.well = well
        assert (await desk.client.begin(INFERENCE, "Ping")).health == f'{{\n  "status": "{word}"\n}}\n'

    run(scene)


def test_named_parts_go_in_and_the_handlers_bytes_come_out() -> None:
    async def scene(desk: Desk) -> None:
        call = desk.begin("Predictions", model_version="1.0", input={"data": b"1", "more": b""})
        request = await desk.asked()
        assert {part.name: bytes(part.value) for part in request.parts} == {"data": b"1", "more": b""}
        assert SEQUENCE_HEADER not in request.headers
        desk.dispatching.answer(b"\x00seven")
        answer = await call
        assert (answer.prediction, answer.HasField("sequence_id")) == (b"\x00seven", False)
        assert dict(await call.trailing_metadata())["x-request-id"] == request.request_id

    assert outcome(run(scene)) == {"answered": 1}


@pytest.mark.parametrize("name", ["Predictions", "StreamPredictions", "StreamPredictions2"])
def test_metadata_say_what_a_request_costs_and_the_handler_sees_it_as_a_header(name: str) -> None:
    async def scene(desk: Desk) -> None:
        if name == "StreamPredictions2":
            requests = sending(sequence(b"1"))
            metadata = (("x-tokens", "9"), ("x-tokens", "3"), ("other", "1"))
            call = desk.client.begin(INFERENCE, name, requests, metadata=metadata)
        else:
            call = desk.begin(name, metadata=(("x-tokens", "9"), ("x-tokens", "3"), ("other", "1")))
        headers = (await desk.asked()).headers
        assert {key: headers[key] for key in headers if key != SEQUENCE_HEADER} == {"X-Tokens": "3"}
        desk.dispatching.answer(b"7")
        await (call if name == "Predictions" else rest(call))
        if name != "StreamPredictions2":
            code, *text = await desk.refused(name, metadata=(("x-tokens", "many"),))
            assert (code, "must be a number from 0" in text[0]) == ("INVALID_ARGUMENT", True)
            code, *text = await desk.refused(name)
            assert (code, "needs a header X-Tokens" in text[0]) == ("INVALID_ARGUMENT", True)

    run(scene, batch_cost="X-Tokens", max_batch_cost=9.0)


@pytest.mark.parametrize("name", ["Predictions", "StreamPredictions"])
def test_whose_deadline_would_pass_while_it_waits_is_refused_at_once(name: str) -> None:
    """A deadline far beyond what the others take is none; with one that is too near, nothing is computed."""

    async def scene(desk: Desk) -> None:
        for number in (1, 2, 3):
            before = desk.begin("Predictions")
            await desk.asked(number)
            await asyncio.sleep(0.02)  # what a batch takes is measured
            desk.dispatching.answer(b"7")
            await before
        waiting = [desk.begin("Predictions", timeout=1000) for _ in range(100)]
        await until(lambda: desk.dispatching.dispatcher.waiting >= 98)  # one runs, one is prepared
        code, *text = await desk.refused(name, timeout=1)
        assert (code, desk.dispatching.dispatcher.waiting) == ("RESOURCE_EXHAUSTED", 98), text
        for call in waiting:
            call.cancel()

    run(scene)


def test_a_sequence_travels_with_its_request_and_its_answer() -> None:
    async def scene(desk: Desk) -> None:
        call = desk.begin("Predictions", sequence_id="s1")
        assert (await desk.asked()).headers[SEQUENCE_HEADER] == "s1"
        desk.dispatching.answer(b"7")
        assert (await call).sequence_id == "s1"

    run(scene)


@pytest.mark.parametrize("name", ["Predictions", "StreamPredictions"])
def test_who_names_no_model_or_none_that_is_here_is_refused(name: str) -> None:
    async def scene(desk: Desk) -> None:
        assert await desk.refused(name, model_name="") == (
            "INVALID_ARGUMENT",
            *("Parameter model_name is required.", f"{JAVA}.http.BadRequestException"),
        )
        assert await desk.refused(name, model_name="nope") == (
            "NOT_FOUND",
            *("Model not found: nope", f"{JAVA}.archive.model.ModelNotFoundException"),
        )
        assert (await desk.refused(name, model_version="9"))[0] == "NOT_FOUND"

    assert outcome(run(scene)) == {"refused": 3}


@pytest.mark.parametrize("name", ["Predictions", "StreamPredictions"])
@pytest.mark.parametrize(
    ("given", "code", "message", "heading"),
    [
        (Reply(b"no such digit", 404), "NOT_FOUND", "no such digit", "answered"),
        (Reply(b"", 418, "tea only"), "FAILED_PRECONDITION", "tea only", "answered"),
        (Reply(b"", 503), "UNAVAILABLE", "Service Unavailable", "answered"),
    ],
)
def test_a_handlers_error_status_is_its_answer(
    name: str, given: Reply, code: str, message: str, heading: str
) -> None:
    async def scene(desk: Desk) -> None:
        refused = asyncio.ensure_future(desk.refused(name))
        await desk.asked()
        desk.reply(given)
        assert (await refused)[:2] == (code, message)

    assert outcome(run(scene)) == {heading: 1}


@pytest.mark.parametrize("name", ["Predictions", "StreamPredictions"])
def test_a_failure_and_a_lost_worker_are_failed_calls(name: str) -> None:
    async def scene(desk: Desk) -> None:
        refused = asyncio.ensure_future(desk.refused(name))
        await desk.asked()
        desk.dispatching.answer(Failure(503, "Prediction failed"))
        assert (await refused)[:2] == ("UNAVAILABLE", "Prediction failed")

    assert outcome(run(scene)) == {"failed": 1}


def test_parts_are_written_as_they_come() -> None:
    async def scene(desk: Desk) -> None:
        call = desk.begin("StreamPredictions", sequence_id="s1")
        await desk.asked()
        for text in (b"a", b"b"):
            desk.dispatching.parts(text)
            assert (await call.read()).prediction == text
        desk.dispatching.answer(b"end")
        assert [(part.prediction, part.sequence_id) for part in await rest(call)] == [(b"end", "s1")]

    assert outcome(run(scene)) == {"answered": 1}


def test_an_answer_in_parts_is_joined_where_a_whole_one_is_asked_for() -> None:
    async def scene(desk: Desk) -> None:
        call = desk.begin("Predictions")
        await desk.asked()
        desk.dispatching.parts(b"a")
        desk.dispatching.answer(b"end")
        assert (await call).prediction == b"aend"

    run(scene)


def test_an_answer_that_fails_half_way_is_an_error_behind_its_parts() -> None:
    async def scene(desk: Desk) -> None:
        call = desk.begin("StreamPredictions")
        await desk.asked()
        desk.dispatching.parts(b"a")
        assert (await call.read()).prediction == b"a"
        desk.dispatching.die()
        assert (await call.code()).name == "INTERNAL"

    assert outcome(run(scene)) == {"failed": 1}


@pytest.mark.parametrize("name", ["Predictions", "StreamPredictions"])
def test_a_client_that_leaves_takes_its_request_back(name: str) -> None:
    async def scene(desk: Desk) -> None:
        call = desk.begin(name)
        await desk.asked()
        call.cancel()
        await until(lambda: bool(desk.dispatching.channel().cancelled))

    assert outcome(run(scene)) == {"gone": 1}


# --- many requests on one call ---------------------------------------------------------------------------


def sequence(text: bytes, **fields: Any) -> Any:
    return PredictionsRequest(**{"model_name": "m", "input": {"data": text}, "sequence_id": "s", **fields})


async def sending(*requests: Any) -> AsyncIterator[Any]:
    for request in requests:
        yield request


async def answering(desk: Desk, *outcomes: Any) -> None:
    """The worker answers one batch after another; with several outcomes: in parts, the last one ends it."""
    for number, outcome in enumerate(outcomes, 1):
        await desk.asked(number)
        *parts, last = outcome if isinstance(outcome, tuple) else (outcome,)
        for part in parts:
            desk.dispatching.parts(part)
        desk.dispatching.answer(last)


def test_many_requests_are_answered_in_their_order_and_errors_stand_among_the_answers() -> None:
    async def scene(desk: Desk) -> None:
        requests = (
            sequence(b"", sequence_id=" "),
            sequence(b"1"),
            sequence(b"2"),
            sequence(b"3"),
            sequence(b"", model_name="nope"),
            sequence(b"4", sequence_id="t"),
        )
        call = desk.client.begin(INFERENCE, "StreamPredictions2", sending(*requests))
        worker = asyncio.ensure_future(answering(desk, b"one", (b"a", b"b"), Failure(503, "no"), b"four"))
        found, _ = await asyncio.gather(rest(call), worker)
        assert [(part.prediction, part.status.code, part.status.message) for part in found] == [
            (b"", 13, "Parameter sequenceId is required."),
            (b"one", 0, ""),
            (b"a", 0, ""),
            (b"b", 0, ""),
            (b"", 14, "no"),
            (b"", 5, "Model not found: nope"),
            (b"four", 0, ""),
        ]
        assert [part.sequence_id for part in found] == [" ", *["s"] * 5, "t"]

    assert outcome(run(scene)) == {"answered": 3, "refused": 2, "failed": 1}


def test_a_call_without_requests_ends_well_and_is_in_no_book() -> None:
    async def scene(desk: Desk) -> None:
        assert await rest(desk.client.begin(INFERENCE, "StreamPredictions2", sending())) == []

    assert run(scene).accepted == 0


def test_requests_have_ids_of_their_own() -> None:
    async def scene(desk: Desk) -> None:
        call = desk.client.begin(INFERENCE, "StreamPredictions2", sending(sequence(b"1"), sequence(b"2")))
        worker = asyncio.ensure_future(answering(desk, b"one", b"two"))
        await asyncio.gather(rest(call), worker)
        (first,), (second,) = (batch for _, batch in desk.dispatching.channel().batches)
        assert first.request_id != second.request_id

    run(scene)


def test_no_more_requests_are_taken_than_may_wait() -> None:
    async def scene(desk: Desk) -> None:
        async def endless() -> AsyncIterator[Any]:
            while True:
                yield sequence(b"")

        call = desk.client.begin(INFERENCE, "StreamPredictions2", endless())
        # One is answered, those of the pipeline wait, and one more waits for its place there.
        await until(lambda: desk.ledger.accepted == PIPELINE + 2)
        for _ in range(100):
            await asyncio.sleep(0)
        assert desk.ledger.accepted == PIPELINE + 2
        call.cancel()

    assert outcome(run(scene)) == {"gone": PIPELINE + 2}


def test_a_stop_ends_a_call_that_waits_for_more_and_answers_what_it_has() -> None:
    async def scene(desk: Desk) -> None:
        more = asyncio.Event()

        async def waiting() -> AsyncIterator[Any]:
            yield sequence(b"1")
            await more.wait()

        call = desk.client.begin(INFERENCE, "StreamPredictions2", waiting())
        await desk.asked()
        desk.stopping.set()
        await answering(desk, b"one")
        assert (await call.read()).prediction == b"one"
        assert (await call.code(), await call.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            f"The server is stopping.\n{JAVA}.http.ServiceUnavailableException",
        )

    assert outcome(run(scene)) == {"answered": 1, "refused": 1}
