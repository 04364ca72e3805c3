"""Which status an error becomes, and with which words."""

from __future__ import annotations

import pytest

from torchkeeper.errors import (
    ArchiveError,
    BadRequest,
    CleaningTimedOut,
    Conflict,
    DownloadFailed,
    FileExists,
    InvalidKey,
    InvalidModelVersion,
    ModelNotAt,
    ModelNotFound,
    ModelVersionNotFound,
    PredictionFailed,
    QueueFull,
    RequestTooLarge,
    ServiceUnavailable,
    StartFailed,
    TorchkeeperError,
    WorkerDied,
)
from torchkeeper.rpc.status import (
    LONGEST,
    Dialect,
    HandlerStatus,
    ModelApiDisabled,
    SequenceRequired,
    code_of,
    code_of_status,
    details_of,
)
from torchkeeper.wire.messages import Reply

BOTH: list[tuple[TorchkeeperError, str]] = [
    (ModelNotFound("m"), "NOT_FOUND"),
    (ModelVersionNotFound("m", "2"), "NOT_FOUND"),
    (ModelNotAt("nowhere"), "NOT_FOUND"),
    (Conflict("m", "1"), "ALREADY_EXISTS"),
    (FileExists("m.mar"), "ALREADY_EXISTS"),
    (BadRequest("no"), "INVALID_ARGUMENT"),
    (ArchiveError("no archive"), "INVALID_ARGUMENT"),
    (DownloadFailed("http://x", "refused"), "INVALID_ARGUMENT"),
    (InvalidModelVersion("m"), "FAILED_PRECONDITION"),
    (QueueFull("full"), "RESOURCE_EXHAUSTED"),
    (RequestTooLarge(5), "RESOURCE_EXHAUSTED"),
    (ServiceUnavailable("no worker"), "UNAVAILABLE"),
    (CleaningTimedOut("m"), "DEADLINE_EXCEEDED"),
    (InvalidKey(), "PERMISSION_DENIED"),
    (InvalidKey(status=403), "PERMISSION_DENIED"),
    (InvalidKey(status=401), "UNAUTHENTICATED"),
    (ModelApiDisabled(), "PERMISSION_DENIED"),
    (SequenceRequired(), "INTERNAL"),
    (WorkerDied("exit code 3"), "INTERNAL"),
    (WorkerDied("killed", killed=True), "INTERNAL"),
    (StartFailed("m", "1", "no module"), "INTERNAL"),
    (PredictionFailed("own", status=429), "RESOURCE_EXHAUSTED"),
    (PredictionFailed("own", status=409), "ABORTED"),
    (PredictionFailed("own", status=507), "INTERNAL"),
]


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(("error", "code"), BOTH, ids=lambda value: type(value).__name__)
def test_codes(error: TorchkeeperError, code: str, dialect: Dialect) -> None:
    assert code_of(error, dialect).name == code


def test_a_handler_that_raised() -> None:
    error = PredictionFailed("Prediction failed", cause="ValueError: no digit")
    assert code_of(error, Dialect.TORCHSERVE).name == "UNAVAILABLE"
    assert code_of(error, Dialect.OPEN_INFERENCE).name == "INTERNAL"
    assert details_of(error, Dialect.OPEN_INFERENCE) == "Prediction failed: ValueError: no digit"
    assert details_of(error, Dialect.TORCHSERVE) == (
        "Prediction failed\norg.pytorch.serve.http.InternalServerException"
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, "OK"),
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (409, "ABORTED"),
        (413, "RESOURCE_EXHAUSTED"),
        (416, "OUT_OF_RANGE"),
        (418, "FAILED_PRECONDITION"),
        (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"),
        (500, "INTERNAL"),
        (501, "UNIMPLEMENTED"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (507, "INTERNAL"),
        (1000, "UNKNOWN"),
    ],
)
def test_a_handlers_own_status(status: int, code: str) -> None:
    assert code_of_status(status).name == code


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"no such digit", 404), "no such digit"),
        (Reply(b"", 404, "Nothing"), "Nothing"),
        (Reply(b"", 404), "Not Found"),
        (Reply(b"", 999), "status 999"),
        (Reply(b"\xff", 404), "\ufffd"),
    ],
)
def test_the_words_of_a_handlers_own_status(reply: Reply, message: str) -> None:
    assert HandlerStatus(reply).message == message


def test_long_words_are_cut() -> None:
    error = HandlerStatus(Reply(b"x" * 100_000, 500))
    assert details_of(error, Dialect.OPEN_INFERENCE) == "x" * LONGEST + "..."
    assert details_of(error, Dialect.TORCHSERVE).endswith(
        "...\norg.pytorch.serve.http.InternalServerException"
    )
