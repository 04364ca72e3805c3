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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchkeeper.handler.context import Context, RequestProcessor
from torchkeeper.handler.errors import PredictionException
from torchkeeper.messages import Failure, Input, Kind, Part, Reply, Sample

Entry = Callable[[Any, Context], Any]

FAILED = "Prediction failed"
OUT_OF_RESOURCES = "Out of resources"
NO_LIST = "Invalid model predict output"
WRONG_LENGTH = "number of batch response mismatched"
UNSUPPORTED = "Unsupported model output data type."


class Service:
    """One loaded model: its entry point, its context and the rules for input and output.

    `entries` is the entry point in each envelope that a request may ask for; None: in the model's own.
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

    def predict(self, inputs: Sequence[Input]) -> list[Reply | Failure]:
        """The handler's answers to a batch (one kind, one envelope), one per input and in their order."""
        context = self._context
        processors = [RequestProcessor(self._headers(entry)) for entry in inputs]
        ids = {place: entry.request_id for place, entry in enumerate(inputs)}
        context.request_processor = processors
        context.request_ids = ids
        context.metrics.set_request_ids(ids)
        rows = [self._row(entry.parts) for entry in inputs]
        begin = time.perf_counter()
        try:
            output = self._entries[inputs[0].envelope](rows, context)
        except Exception as error:  # noqa: BLE001 - the handler is user code
            traceback.print_exc()
            return [_failure(error)] * len(inputs)
        context.metrics.add_time("PredictionTime", round((time.perf_counter() - begin) * 1000, 2))
        return self._replies(output, processors)

    def drain(self) -> list[Sample]:
        """The numbers that the handler recorded since the last call."""
        samples: list[Sample] = self._context.metrics.drain()
        return samples

    def _headers(self, entry: Input) -> dict[str, Any]:
        headers: dict[str, Any] = dict(entry.headers)
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

    def _replies(self, output: Any, processors: Sequence[RequestProcessor]) -> list[Reply | Failure]:
        count = len(processors)
        if not isinstance(output, list):
            cause = f"the handler returned {type(output).__name__}, not a list"
            return [Failure(503, NO_LIST, cause)] * count
        if len(output) != count:
            cause = f"the handler returned {len(output)} results for {count} requests"
            return [Failure(503, WRONG_LENGTH, cause)] * count
        replies: list[Reply | Failure] = []
        for value, processor in zip(output, processors, strict=True):
            try:
                body, content_type = encode_value(value)
            except (TypeError, ValueError, RecursionError) as error:
                return [Failure(503, UNSUPPORTED, last_line(error))] * count
            replies.append(self._reply(body, content_type, processor))
        return replies

    def _reply(self, body: bytes, content_type: str, processor: RequestProcessor) -> Reply | Failure:
        if len(body) > self._limit:
            cause = f"the answer has {len(body)} bytes, max_response_size is {self._limit}"
            return Failure(500, "Worker died.", cause)
        headers = {str(name): str(value) for name, value in processor.get_response_headers().items()}
        for name in headers:
            if name.lower() == "content-type":
                content_type = headers.pop(name)
                break
        status = processor.get_response_status_code()
        phrase = processor.get_response_status_phrase()
        return Reply(body, int(status or 200), phrase or "", headers, content_type)


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


def _failure(error: Exception) -> Failure:
    if isinstance(error, PredictionException):
        status = 507 if error.error_code == 413 else int(error.error_code)
        return Failure(status, str(error.message), last_line(error))
    if isinstance(error, MemoryError) or "CUDA" in str(error):
        return Failure(507, OUT_OF_RESOURCES, last_line(error))
    return Failure(503, FAILED, last_line(error))
