"""What a handler gave for a request becomes a reply or a failure; one that cannot be sent fails alone.

Nothing of a user's object leaves here: bodies are bytes, texts are text. Nothing that users' code raises gets
out of here either, but SystemExit, by which a handler ends its worker. Source of the rules and sentences:
TorchServe's "Handler output to response" and its error table.
"""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchkeeper.handler.context import STATUS, RequestProcessor
from torchkeeper.handler.errors import PredictionException, is_prediction_exception, is_too_many_pixels
from torchkeeper.handler.json_text import dumped
from torchkeeper.handler.outcome import WrongOutcome
from torchkeeper.handler.response_head import checked_header, checked_phrase, checked_status
from torchkeeper.handler.safe_text import safe_str
from torchkeeper.wire.advice import blamed
from torchkeeper.wire.messages import Failure, Reply
from torchkeeper.wire.remedies import remedy
from torchkeeper.worker.blame import Blame, cause_of

FAILED = "Prediction failed"
OUT_OF_RESOURCES = "Out of resources"
UNSUPPORTED = "Unsupported model output data type."


@dataclass(slots=True)
class Replier:
    """Makes the replies to the requests of a batch.

    Args:
        processors: where the handler left the status and headers of each.
        ids: the requests' ids by their places, for the log.
        fault: status of a failure that is the handler's.
        limit: bytes that a body may have.
    """

    processors: Sequence[RequestProcessor]
    ids: Mapping[int, str]
    fault: int
    limit: int

    def reply(self, place: int, value: Any, status: Any = None) -> Reply | Failure:
        """The reply with a value (a PredictionException is a failure), or why there is none.

        Args:
            status: instead of the one that the handler set.
        """
        try:
            if isinstance(value, PredictionException):
                return refusal(value)
            body, content_type = encode_value(value)
        except SystemExit:
            raise
        except MemoryError as error:
            return self._failed(place, Failure(507, OUT_OF_RESOURCES, cause_of(error)))
        except BaseException as error:  # noqa: BLE001 - values are of users' types
            cause = blamed(cause_of(error), "", remedy(type(error).__name__, safe_str(error)))
            return self._failed(place, Failure(self.fault, UNSUPPORTED, cause))
        if len(body) > self.limit:
            cause = f"the answer has {len(body)} bytes, max_response_size is {self.limit}"
            return self._failed(place, Failure(500, "Worker died.", cause))
        return self._with_head(place, body, content_type, status)

    def _with_head(self, place: int, body: bytes, content_type: str, status: Any) -> Reply | Failure:
        what: Any = STATUS
        processor = None
        try:
            processor = self.processors[place]
            if status is None and type(processor) is RequestProcessor and processor.untouched:
                return Reply(body, content_type=content_type)
            code = checked_status(processor.get_response_status_code() if status is None else status)
            headers: dict[str, str] = {}
            for name, value in processor.get_response_headers().items():
                what = name
                if str(name).lower() != "content-type":
                    headers.update([checked_header(name, value)])
                elif value:
                    content_type = checked_header(name, value)[1]
            phrase = checked_phrase(processor.get_response_status_phrase())
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - a handler may have put anything in there
            cause = safe_str(error) if isinstance(error, ValueError) else cause_of(error)
            where = processor.set_at.get(what) if isinstance(processor, RequestProcessor) else None
            return self._failed(place, Failure(self.fault, FAILED, f"{cause} ({where})" if where else cause))
        return Reply(body, code, phrase, headers, content_type)

    def _failed(self, place: int, failure: Failure) -> Failure:
        log(f"request {self.ids[place]}: {failure.cause}")
        return failure


def encode_value(value: Any) -> tuple[bytes, str]:
    """Body and content type of one returned value.

    The content types are ours: TorchServe sends none.

    Raises:
        Exception: the value has no form; TypeError and ValueError are JSON's.
    """
    if type(value) is bytes:
        return value, "application/octet-stream"
    if isinstance(value, str):
        return str.encode(value), "text/plain; charset=utf-8"
    if isinstance(value, bytes | bytearray):
        # Not what a subclass says that it is: the frame counts these bytes.
        return bytes(memoryview(value)), "application/octet-stream"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue(), "application/octet-stream"
    return dumped(value, indent=2).encode(), "application/json"


def failure_of(error: BaseException, fault: int, blame: Blame | None = None) -> Failure:
    """What becomes of the requests of a batch whose handler raised.

    Args:
        fault: the status of its faults.
        blame: knows where in the model's own code the fault is, and what to do.
    """
    if isinstance(error, WrongOutcome):
        return Failure(fault, error.message, error.cause)
    cause = cause_of(error)
    if is_prediction_exception(error):
        return refusal(error, cause)
    if blame is not None:
        cause = blamed(cause, *blame.of(error))
    if isinstance(error, MemoryError) or "CUDA" in safe_str(error):
        return Failure(507, OUT_OF_RESOURCES, cause)
    if is_too_many_pixels(error):
        return Failure(413, safe_str(error))
    return Failure(fault, FAILED, cause)


def refusal(error: BaseException, cause: str | None = None) -> Failure:
    """The failure by which a handler answers; 500 in place of a status that no failure can have."""
    message = safe_str(getattr(error, "message", FAILED))
    try:
        status = checked_status(getattr(error, "error_code", 500))
        if status == 200:
            raise ValueError("the response status 200 is none of a failure")
    except ValueError as wrong:
        log(f"PredictionException: {wrong}")
        return Failure(500, message, str(wrong))
    return Failure(507 if status == 413 else status, message, cause)


def log(text: str) -> None:
    """A line in the model's log, if the handler has left one to write to."""
    with contextlib.suppress(Exception):
        print(text, file=sys.stderr)


def log_traceback(error: BaseException | None = None) -> None:
    """An exception's traceback, in the model's log; without one, of that which is being handled."""
    with contextlib.suppress(Exception):
        traceback.print_exception(sys.exception() if error is None else error)
