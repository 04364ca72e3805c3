"""Errors as gRPC statuses: which code, and which words. Pure.

Source: TorchServe's table of handlers' codes and its form of details, a message with the name of its Java
exception below; gRPC's "Status codes and their use in gRPC" where TorchServe says INTERNAL or UNKNOWN for
everything.
"""

from __future__ import annotations

from http import HTTPStatus

from grpc import StatusCode

from torchkeeper.errors import (
    CleaningTimedOut,
    Conflict,
    FileExists,
    InvalidKey,
    InvalidModelVersion,
    PredictionFailed,
    QueueFull,
    TorchkeeperError,
)
from torchkeeper.serving.dialect import Dialect
from torchkeeper.wire.messages import Reply

#: Characters of a message that are sent: a status travels in a header, and peers bound those (8 KB).
LONGEST = 1000

_HANDLERS = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ABORTED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    416: StatusCode.OUT_OF_RANGE,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
_PACKAGES = {
    "ModelException": "org.pytorch.serve.archive.model",
    "ModelNotFoundException": "org.pytorch.serve.archive.model",
    "ModelVersionNotFoundException": "org.pytorch.serve.archive.model",
    "InvalidModelException": "org.pytorch.serve.archive.model",
    "DownloadArchiveException": "org.pytorch.serve.archive",
}


class ModelApiDisabled(TorchkeeperError):
    """Models are not registered or unregistered while the server runs: PERMISSION_DENIED."""

    status = 403
    type = "ModelException"

    def __init__(self) -> None:
        super().__init__("Model API disabled")


class SequenceRequired(TorchkeeperError):
    """A request of StreamPredictions2 names no sequence."""

    status = 400
    type = "BadRequestException"

    def __init__(self) -> None:
        super().__init__("Parameter sequenceId is required.")


class HandlerStatus(TorchkeeperError):
    """The handler's own answer has an error status: its words are the answer's text, else the phrase."""

    def __init__(self, reply: Reply) -> None:
        text = reply.body.decode(errors="replace") or reply.phrase or _phrase(reply.status)
        super().__init__(text)
        self.status = reply.status


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else f"status {status}"


#: Errors of the server itself whose HTTP status says less than gRPC's codes can.
_OURS: tuple[tuple[type[TorchkeeperError], StatusCode], ...] = (
    (QueueFull, StatusCode.RESOURCE_EXHAUSTED),
    (Conflict, StatusCode.ALREADY_EXISTS),
    (FileExists, StatusCode.ALREADY_EXISTS),
    (InvalidModelVersion, StatusCode.FAILED_PRECONDITION),
    (CleaningTimedOut, StatusCode.DEADLINE_EXCEEDED),
    (SequenceRequired, StatusCode.INTERNAL),  # TorchServe's
)


def code_of_status(status: int) -> StatusCode:
    """TorchServe's code for a handler's HTTP status."""
    if status in _HANDLERS:
        return _HANDLERS[status]
    if 200 <= status < 300:
        return StatusCode.OK
    if 400 <= status < 500:
        return StatusCode.FAILED_PRECONDITION
    return StatusCode.INTERNAL if 500 <= status < 600 else StatusCode.UNKNOWN


def code_of(error: TorchkeeperError, dialect: Dialect) -> StatusCode:
    """The code that tells a client what to do about an error."""
    if isinstance(error, InvalidKey):
        return StatusCode.UNAUTHENTICATED if error.status == 401 else StatusCode.PERMISSION_DENIED
    if isinstance(error, PredictionFailed) and error.status == 503 and dialect is Dialect.OPEN_INFERENCE:
        # A handler that raised: clients would send it again by themselves after UNAVAILABLE, to no end.
        return StatusCode.INTERNAL
    for kind, code in _OURS:
        if isinstance(error, kind):
            return code
    code = code_of_status(error.status)
    return StatusCode.UNKNOWN if code is StatusCode.OK else code  # an error that a handler calls a success


def details_of(error: TorchkeeperError, dialect: Dialect) -> str:
    """The words: TorchServe's two lines, or the message with its cause."""
    if dialect is Dialect.OPEN_INFERENCE:
        return _cut(error.text)
    return f"{_cut(error.message)}\n{_PACKAGES.get(error.type, 'org.pytorch.serve.http')}.{error.type}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
