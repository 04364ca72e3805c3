"""TorchServe's inference service: named parts in, the handler's bytes out, whole or in parts.

The same dispatchers serve it as serve REST. Source: TorchServe's gRPC API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from torchkeeper.engine.models import Models
from torchkeeper.engine.stream import Stream
from torchkeeper.errors import BadRequest, ServiceUnavailable, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.messages import Input, Kind, Part, Reply
from torchkeeper.rpc.calls import Call, Calls, Tally
from torchkeeper.rpc.schema import INFERENCE, message, methods
from torchkeeper.rpc.status import Dialect, HandlerStatus, SequenceRequired, code_of
from torchkeeper.serving.ask import Ask, Asked
from torchkeeper.serving.request_id import new_request_id

PredictionResponse = message("org.pytorch.serve.grpc.inference.PredictionResponse")
TorchServeHealthResponse = message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse")

#: The header in which a request's sequence travels; TorchServe's name for it.
SEQUENCE_HEADER = "ts_request_sequence_id"
#: Requests of one StreamPredictions2 call that may wait for their answers; no more are read meanwhile.
PIPELINE = 32


def checked(reply: Reply) -> Reply:
    """The reply.

    Raises:
        HandlerStatus: the handler gave it an error status.
    """
    if reply.status >= 400:
        raise HandlerStatus(reply)
    return reply


async def _parts(asked: Asked[Reply | Stream]) -> AsyncGenerator[Reply, None]:
    """The parts of an answer as they are made; an ordinary answer is one. Raises as `Asked.answer`."""
    answer = await asked.answer()
    if not isinstance(answer, Stream):
        yield checked(answer)
        return
    try:
        checked(answer.first)
        async for part in answer:
            yield part
    except BaseException:
        answer.close()
        raise


#: A request of many, in the queue; or the error that answers it alone.
_Begun = Asked[Reply | Stream] | TorchkeeperError


class InferenceService:
    """The RPCs of InferenceAPIsService."""

    def __init__(self, ask: Ask, models: Models, tally: Tally, stopping: asyncio.Event) -> None:
        self._ask = ask
        self._models = models
        self._tally = tally
        self._stopping = stopping

    def handlers(self, calls: Calls) -> dict[str, Any]:
        """gRPC's handlers by method name."""
        serve = {
            "Ping": (self._ping, Key.PROBE, True),
            "Predictions": (self._predictions, Key.INFERENCE, True),
            "StreamPredictions": (self._stream, Key.INFERENCE, True),
            "StreamPredictions2": (self._stream_many, Key.INFERENCE, False),
        }
        found = {}
        for method in methods(INFERENCE):
            function, key, counted = serve[method.name]
            found[method.name] = calls.handler(
                method, function, key=key, dialect=Dialect.TORCHSERVE, counted=counted
            )
        return found

    async def _ping(self, call: Call, request: Any) -> Any:
        healthy = self._models.healthy()
        word = "Healthy" if healthy else "Unhealthy"
        return TorchServeHealthResponse(health=f'{{\n  "status": "{word}"\n}}\n')

    async def _predictions(self, call: Call, request: Any) -> Any:
        asked = self._ask.whole(*_target(request), _input(request, call.request_id))
        return _response(request, checked(await asked.answer()))

    async def _stream(self, call: Call, request: Any) -> None:
        asked = self._ask.in_parts(*_target(request), _input(request, call.request_id))
        async with aclosing(_parts(asked)) as parts:
            async for part in parts:
                await call.write(_response(request, part))

    async def _stream_many(self, call: Call, requests: AsyncIterator[Any]) -> None:
        """Answers in the order of the requests; the last ones also after the client has half-closed."""
        pending: asyncio.Queue[tuple[Any, _Begun] | None] = asyncio.Queue(PIPELINE)

        async def read() -> None:
            try:
                async with aclosing(_until(self._stopping, requests)) as coming:
                    async for request in coming:
                        self._tally.begin()
                        begun = self._begun(request)
                        try:
                            await pending.put((request, begun))
                        except asyncio.CancelledError as left:
                            self._give_up(begun, left)
                            raise
            except Exception:
                await pending.put(None)
                raise
            await pending.put(None)

        reader = asyncio.ensure_future(read())
        try:
            while (item := await pending.get()) is not None:
                await self._answer_one(call, *item)
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            while not pending.empty():
                if (item := pending.get_nowait()) is not None:
                    self._give_up(item[1], asyncio.CancelledError())

    def _begun(self, request: Any) -> _Begun:
        try:
            if not request.sequence_id.strip():
                raise SequenceRequired
            return self._ask.in_parts(*_target(request), _input(request, new_request_id()))
        except TorchkeeperError as error:
            return error

    def _give_up(self, begun: _Begun, left: BaseException) -> None:
        if isinstance(begun, Asked):
            begun.leave()
        self._tally.end(left)

    async def _answer_one(self, call: Call, request: Any, begun: _Begun) -> None:
        """Writes the answer to one request of many; an error is an answer too, and the next ones follow."""
        try:
            if isinstance(begun, TorchkeeperError):
                raise begun
            async with aclosing(_parts(begun)) as parts:
                async for part in parts:
                    await call.write(_response(request, part))
        except TorchkeeperError as error:
            self._tally.end(error)
            code = code_of(error, Dialect.TORCHSERVE).value[0]
            response = PredictionResponse(status={"code": code, "message": error.message})
            await call.write(_of_sequence(request, response))
        except BaseException as error:
            self._tally.end(error)
            raise
        else:
            self._tally.end(None)


def _target(request: Any) -> tuple[str, str | None]:
    """Which model and version a request names.

    Raises:
        BadRequest: none.
    """
    if not request.model_name:
        raise BadRequest("Parameter model_name is required.")
    return request.model_name, request.model_version or None


def _input(request: Any, request_id: str) -> Input:
    parts = tuple(Part(name, value) for name, value in request.input.items())
    headers = {SEQUENCE_HEADER: request.sequence_id} if request.sequence_id else {}
    return Input(request_id, Kind.PREDICT, parts, headers)


async def _until(stopping: asyncio.Event, requests: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """The requests up to the client's end.

    Raises:
        ServiceUnavailable: the server stops before that.
    """
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(requests, None))
            try:
                await asyncio.wait({coming, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not coming.done():
                    coming.cancel()
            if not coming.done():
                raise ServiceUnavailable("The server is stopping.")
            if (request := coming.result()) is None:
                return
            yield request
    finally:
        stop.cancel()


def _response(request: Any, reply: Reply) -> Any:
    return _of_sequence(request, PredictionResponse(prediction=reply.body))


def _of_sequence(request: Any, response: Any) -> Any:
    if request.HasField("sequence_id"):
        response.sequence_id = request.sequence_id
    return response
