"""TorchServe's inference service: named parts in, the handler's bytes out, whole or in parts.

The same dispatchers serve it as serve REST. Source: TorchServe's gRPC API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from torchkeeper.engine.stream import Stream
from torchkeeper.errors import BadRequest, ServiceUnavailable, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.models.registry import Models
from torchkeeper.rpc.calls import Calls, Rpc, RpcCall, settle
from torchkeeper.rpc.schema import INFERENCE, message, methods
from torchkeeper.rpc.status import HandlerStatus, SequenceRequired, code_of
from torchkeeper.serving.ask import Ask, Asked, ClientGone
from torchkeeper.serving.books import Books, Record
from torchkeeper.serving.dialect import Dialect
from torchkeeper.serving.request_id import new_request_id
from torchkeeper.wire.messages import Input, Kind, Part, Reply

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


@dataclass(frozen=True)
class _Begun:
    """A request of many, with its page in the books: in the queue, or the error that answers it alone."""

    request: Any
    record: Record
    asked: Asked[Reply | Stream] | TorchkeeperError

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        if isinstance(self.asked, Asked):
            self.asked.leave()
        self.record.close(ClientGone())

    async def parts(self) -> AsyncGenerator[Reply, None]:
        """What `_parts` gives."""
        if isinstance(self.asked, TorchkeeperError):
            raise self.asked
        async with aclosing(_parts(self.asked)) as parts:
            async for part in parts:
                yield part


class InferenceService:
    """The RPCs of InferenceAPIsService."""

    def __init__(self, ask: Ask, models: Models, books: Books, stopping: asyncio.Event) -> None:
        self._ask = ask
        self._models = models
        self._books = books
        self._stopping = stopping

    def handlers(self, calls: Calls) -> dict[str, Any]:
        """gRPC's handlers by method name."""
        served = {
            "Ping": Rpc(self._ping, Key.PROBE),
            "Predictions": Rpc(self._predictions, Key.INFERENCE),
            "StreamPredictions": Rpc(self._stream, Key.INFERENCE),
            "StreamPredictions2": Rpc(self._stream_many, Key.INFERENCE, many=True),
        }
        return calls.handlers(methods(INFERENCE), served, Dialect.TORCHSERVE)

    async def _ping(self, call: RpcCall, request: Any) -> Any:
        healthy = self._models.healthy()
        word = "Healthy" if healthy else "Unhealthy"
        return TorchServeHealthResponse(health=f'{{\n  "status": "{word}"\n}}\n')

    async def _predictions(self, call: RpcCall, request: Any) -> Any:
        asked = self._ask.whole(
            *_target(request), _input(request, call.request_id), call.patience, call.metadata
        )
        return _response(request, checked(await asked.answer()))

    async def _stream(self, call: RpcCall, request: Any) -> None:
        asked = self._ask.in_parts(
            *_target(request), _input(request, call.request_id), call.patience, call.metadata
        )
        async with aclosing(_parts(asked)) as parts:
            async for part in parts:
                await call.write(_response(request, part))

    async def _stream_many(self, call: RpcCall, requests: AsyncIterator[Any]) -> None:
        """Answers in the order of the requests; the last ones also after the client has half-closed."""
        pending: asyncio.Queue[_Begun | None] = asyncio.Queue(PIPELINE)
        reader = asyncio.ensure_future(self._read(call, requests, pending))
        try:
            while (begun := await pending.get()) is not None:
                await self._answer_one(call, begun)
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            while not pending.empty():
                if (begun := pending.get_nowait()) is not None:
                    begun.give_up()

    async def _read(
        self, call: RpcCall, requests: AsyncIterator[Any], pending: asyncio.Queue[_Begun | None]
    ) -> None:
        """Begins the requests as they come; None ends the queue, also where no more can be read."""
        try:
            async with aclosing(_until(self._stopping, requests)) as coming:
                async for request in coming:
                    begun = self._begun(call, request)
                    try:
                        await pending.put(begun)
                    except asyncio.CancelledError:
                        begun.give_up()
                        raise
        except Exception:
            await pending.put(None)
            raise
        await pending.put(None)

    def _begun(self, call: RpcCall, request: Any) -> _Begun:
        record = self._books.enter()
        try:
            if not request.sequence_id.strip():
                raise SequenceRequired
            asked = self._ask.in_parts(
                *_target(request), _input(request, new_request_id()), metadata=call.metadata
            )
        except TorchkeeperError as error:
            return _Begun(request, record, error)
        return _Begun(request, record, asked)

    async def _answer_one(self, call: RpcCall, begun: _Begun) -> None:
        """Writes the answer to one request of many; an error is an answer too, and the next ones follow."""
        request = begun.request
        try:
            async with aclosing(begun.parts()) as parts:
                async for part in parts:
                    await call.write(_response(request, part))
        except TorchkeeperError as error:
            settle(begun.record, error)
            code = code_of(error, Dialect.TORCHSERVE).value[0]
            response = PredictionResponse(status={"code": code, "message": error.message})
            await call.write(_of_sequence(request, response))
        except BaseException as error:
            begun.record.close(error)
            raise
        else:
            settle(begun.record, None)


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
