"""A batch goes in, its outcomes come out: rows for the handler, the one catch around user code, bodies.

Owns the translation between what travels (parts, replies) and what a handler sees and returns
(TorchServe's REST contract, "Request to handler input" and "Handler output to response"). Knows no sockets.
"""

from __future__ import annotations

import io
import json
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from types import GeneratorType
from typing import Any, Protocol

from torchkeeper.handler.context import Context, RequestProcessor
from torchkeeper.handler.errors import PredictionException, UnreadableRow
from torchkeeper.handler.outcome import WrongOutcome, check_one_per_row, drained
from torchkeeper.messages import Failure, Input, Kind, Part, Reply, Sample

Entry = Callable[[Any, Context], Any]

FAILED = "Prediction failed"
OUT_OF_RESOURCES = "Out of resources"
UNSUPPORTED = "Unsupported model output data type."
#: Headers by which handlers know what is asked; clients have no say in them.
_OURS = ("explain", "describe")
#: Status of a handler's fault: TorchServe's on its own URLs, KServe's on those that ask for an envelope.
_FAULT = 503
_FAULT_IN_ENVELOPE = 500


class Outbox(Protocol):
    """Where parts of answers go, and who left; indexes are those of the inputs."""

    def send(self, parts: Sequence[Reply | None]) -> None:
        """One part per request; None: nothing for that one."""

    def gone(self) -> Collection[int]:
        """The requests whose clients left."""


class Service:
    """One loaded model: its entry point, its context and the rules for input and output.

    `entries` is the entry point in each envelope that a request may ask for; None: in the model's own. An
    element of what an entry point returns may be a PredictionException: that request's own failure.
    """

    def __init__(
        self,
        entries: Mapping[str | None, Entry],
        context: Context,
        *,
        decode: bool,
        max_response_size: int,
    ) -> None:
        self._entries = entries
        self._context = context
        self._decode = decode
        self._limit = max_response_size

    def predict(self, inputs: Sequence[Input], outbox: Outbox) -> list[Reply | Failure]:
        """The handler's answers to a batch (one kind, one envelope), one per input and in their order.

        What a handler sends before it returns, or yields, goes through `outbox`.
        """
        context = self._context
        processors = [RequestProcessor(self._headers(entry)) for entry in inputs]
        ids = {place: entry.request_id for place, entry in enumerate(inputs)}
        context.request_processor = processors
        context.request_ids = ids
        context.metrics.set_request_ids(ids)
        context.line = _Line(processors, outbox)
        rows = [self._row(entry.parts) for entry in inputs]
        envelope = inputs[0].envelope
        fault = _FAULT if envelope is None else _FAULT_IN_ENVELOPE
        begin = time.perf_counter()
        try:
            output = self._entries[envelope](rows, context)
            if isinstance(output, GeneratorType):
                output = drained(output, context)
                output = [b""] * len(inputs) if output is None else output
            check_one_per_row("returned", output, len(inputs))
        except UnreadableRow as error:
            print(f"request {ids.get(error.place)}: {error.text}", file=sys.stderr)
            if error.place not in ids:
                return [_failure(error, fault)] * len(inputs)
            return self._without(error, inputs, outbox)
        except WrongOutcome as error:
            return [Failure(fault, error.message, error.cause)] * len(inputs)
        except Exception as error:  # noqa: BLE001 - the handler is user code
            traceback.print_exc()
            return [_failure(error, fault)] * len(inputs)
        finally:
            context.line = None
        context.metrics.add_time("PredictionTime", round((time.perf_counter() - begin) * 1000, 2))
        return self._replies(output, processors, fault)

    def _without(
        self, error: UnreadableRow, inputs: Sequence[Input], outbox: Outbox
    ) -> list[Reply | Failure]:
        """The answers to a batch with a request that cannot be read: that one's failure among the others'."""
        place = error.place
        if inputs[place].envelope is None:
            failure = Failure(_FAULT, FAILED, error.text)
        else:
            failure = Failure(400, error.text)
        others = [*inputs[:place], *inputs[place + 1 :]]
        replies = self.predict(others, _Narrowed(outbox, place)) if others else []
        return [*replies[:place], failure, *replies[place:]]

    def drain(self) -> list[Sample]:
        """The numbers that the handler recorded since the last call."""
        samples: list[Sample] = self._context.metrics.drain()
        return samples

    def _headers(self, entry: Input) -> dict[str, Any]:
        headers: dict[str, Any] = {
            name: value for name, value in entry.headers.items() if name.lower() not in _OURS
        }
        headers["explain"] = str(entry.kind is Kind.EXPLAIN)
        if entry.kind is Kind.DESCRIBE:
            headers["describe"] = "True"
        for part in entry.parts:
            if part.content_type:
                headers[part.name] = {"content-type": part.content_type}
        return headers

    def _row(self, parts: Sequence[Part]) -> dict[str, Any]:
        return {part.name: self._value(part) for part in parts}

    def _value(self, part: Part) -> Any:
        kind = (part.content_type or "").lower()
        if self._decode and kind:
            try:
                if kind == "application/json":
                    return json.loads(part.value.decode())
                if kind.startswith("text"):
                    return part.value.decode()
            except ValueError as error:
                print(
                    f"parameter {part.name!r} is no valid {kind}, passed on as bytes: {error}",
                    file=sys.stderr,
                )
        return bytearray(part.value)

    def _replies(
        self, output: Sequence[Any], processors: Sequence[RequestProcessor], fault: int
    ) -> list[Reply | Failure]:
        replies: list[Reply | Failure] = []
        for value, processor in zip(output, processors, strict=True):
            if isinstance(value, PredictionException):
                replies.append(Failure(int(value.error_code), str(value.message)))
                continue
            try:
                body, content_type = encode_value(value)
            except (TypeError, ValueError, RecursionError) as error:
                return [Failure(fault, UNSUPPORTED, last_line(error))] * len(processors)
            replies.append(self._reply(body, content_type, processor))
        return replies

    def _reply(self, body: bytes, content_type: str, processor: RequestProcessor) -> Reply | Failure:
        if len(body) > self._limit:
            cause = f"the answer has {len(body)} bytes, max_response_size is {self._limit}"
            return Failure(500, "Worker died.", cause)
        return make_reply(body, content_type, processor)


class _Line:
    """A batch's way to its clients: values become parts with the status and headers set so far."""

    def __init__(self, processors: Sequence[RequestProcessor], outbox: Outbox) -> None:
        self._processors = processors
        self._outbox = outbox

    def send(self, values: Sequence[Any], status: int | None = None) -> None:
        """One value per request; None, or a client that left: nothing for that one."""
        gone = self._outbox.gone()
        parts: list[Reply | None] = []
        for place, (value, processor) in enumerate(zip(values, self._processors, strict=True)):
            part = None
            if value is not None and place not in gone:
                part = make_reply(*encode_value(value), processor, status)
            parts.append(part)
        if any(part is not None for part in parts):
            self._outbox.send(parts)

    def gone(self) -> Collection[int]:
        """The requests whose clients left."""
        return self._outbox.gone()


class _Narrowed:
    """The outbox of a batch without the request at one place."""

    def __init__(self, outbox: Outbox, place: int) -> None:
        self._outbox = outbox
        self._place = place

    def send(self, parts: Sequence[Reply | None]) -> None:
        """One part for each of the others."""
        self._outbox.send([*parts[: self._place], None, *parts[self._place :]])

    def gone(self) -> Collection[int]:
        """Those of the others whose clients left."""
        place = self._place
        return [one - (one > place) for one in self._outbox.gone() if one != place]


def make_reply(
    body: bytes, content_type: str, processor: RequestProcessor, status: int | None = None
) -> Reply:
    """An answer, or a part of one, with the status and headers that its request's processor holds."""
    headers = {str(name): str(value) for name, value in processor.get_response_headers().items()}
    for name in headers:
        if name.lower() == "content-type":
            content_type = headers.pop(name)
            break
    status = int(status or processor.get_response_status_code() or 200)
    return Reply(body, status, processor.get_response_status_phrase() or "", headers, content_type)


def encode_value(value: Any) -> tuple[bytes, str]:
    """Body and content type of one returned value.

    Source: TorchServe's handler output rules; the content types are ours (TorchServe sends none).

    Raises:
        TypeError, ValueError: the value is not JSON-serialisable.
    """
    if isinstance(value, str):
        return value.encode(), "text/plain; charset=utf-8"
    if isinstance(value, bytes | bytearray):
        return bytes(value), "application/octet-stream"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue(), "application/octet-stream"
    return json.dumps(value, indent=2).encode(), "application/json"


def last_line(error: BaseException) -> str:
    """The last line of an error's traceback, bounded: what a client may see of it."""
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines() or [type(error).__name__]
    return lines[-1][:500]


def _failure(error: Exception, fault: int) -> Failure:
    if isinstance(error, PredictionException):
        status = 507 if error.error_code == 413 else int(error.error_code)
        return Failure(status, str(error.message), last_line(error))
    if isinstance(error, MemoryError) or "CUDA" in str(error):
        return Failure(507, OUT_OF_RESOURCES, last_line(error))
    return Failure(fault, FAILED, last_line(error))
