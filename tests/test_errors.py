"""The tree of errors: TorchServe's codes, types and messages, and what each means for the ledger."""

from __future__ import annotations

import errno
import inspect
import os

import pytest

from torchkeeper import errors
from torchkeeper.errors import (
    ArchiveError,
    AsksForMissing,
    BadEscape,
    BadRequest,
    CleaningTimedOut,
    Conflict,
    DeadlinePassed,
    DownloadFailed,
    FeatureMissing,
    FileExists,
    InvalidKey,
    InvalidModelVersion,
    LaunchRefused,
    MethodNotAllowed,
    ModelNotAt,
    ModelNotFound,
    ModelVersionNotFound,
    NoRoom,
    PredictionFailed,
    Quarantined,
    QueueFull,
    RequestTooLarge,
    RequirementsFailed,
    ResourceNotFound,
    ServiceUnavailable,
    SettingsError,
    StartFailed,
    SystemFailed,
    TorchkeeperError,
    UnknownCoding,
    WorkerDied,
    outward,
    reason_of,
    system_error,
)

#: What each says, TorchServe's words first.
TABLE = [
    (BadRequest("no"), 400, "BadRequestException", "no"),
    (BadEscape("no"), 403, "IllegalArgumentException", "no"),
    (
        ResourceNotFound(),
        404,
        "ResourceNotFoundException",
        "Requested resource is not found, please refer to API document.",
    ),
    (ModelNotFound("m"), 404, "ModelNotFoundException", "Model not found: m"),
    (
        ModelVersionNotFound("m", "2"),
        404,
        "ModelVersionNotFoundException",
        "Model version: 2 does not exist for model: m",
    ),
    (
        ModelVersionNotFound("m", "2", for_default=True),
        404,
        "ModelVersionNotFoundException",
        "Model version 2 does not exist for model m",
    ),
    (ModelNotAt("nowhere"), 404, "ModelNotFoundException", "nowhere"),
    (
        InvalidModelVersion("m"),
        403,
        "InvalidModelVersionException",
        "Cannot remove default version for model m",
    ),
    (
        Conflict("m", "2"),
        409,
        "ConflictStatusException",
        "Model version 2 is already registered for model m",
    ),
    (
        DownloadFailed("http://h/m.mar", "gone"),
        400,
        "DownloadArchiveException",
        "Failed to download archive from: http://h/m.mar",
    ),
    (FileExists("m.mar"), 500, "InternalServerException", "Model file already exists m.mar"),
    (
        StartFailed("m", "2", "why"),
        500,
        "InternalServerException",
        "Failed to start workers for model m version: 2",
    ),
    (
        RequirementsFailed("m", "why"),
        400,
        "ModelException",
        "Custom pip package installation failed for model m",
    ),
    (CleaningTimedOut("m"), 408, "RequestTimeoutException", "Timed out while cleaning resources: m"),
    (FeatureMissing("no such thing"), 501, "NotImplementedException", "no such thing"),
    (
        MethodNotAllowed(["GET", "PUT"]),
        405,
        "MethodNotAllowedException",
        "Requested method is not allowed, please refer to API document.",
    ),
    (
        InvalidKey(),
        400,
        "InvalidKeyException",
        "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
    ),
    (
        InvalidKey(renewal=True, status=403),
        403,
        "InvalidKeyException",
        "Token Authentication failed. Token either incorrect, expired, or not provided correctly",
    ),
    (
        RequestTooLarge(7),
        413,
        "RequestEntityTooLargeException",
        "Request body is larger than max_request_size (7 bytes).",
    ),
    (
        UnknownCoding("br"),
        415,
        "UnsupportedMediaTypeException",
        "Content-Encoding 'br' is neither gzip nor deflate.",
    ),
    (ServiceUnavailable("busy"), 503, "ServiceUnavailableException", "busy"),
    (QueueFull("full"), 503, "ServiceUnavailableException", "full"),
    (PredictionFailed("no"), 503, "InternalServerException", "no"),
    (PredictionFailed("no", status=418), 418, "InternalServerException", "no"),
    (WorkerDied("why"), 500, "InternalServerException", "Worker died."),
    (WorkerDied("why", killed=True), 507, "InternalServerException", "Worker died."),
    (WorkerDied("why", killed=True, late=True), 504, "DeadlineExceededException", "Worker died."),
    (ArchiveError("bad"), 400, "InvalidModelException", "bad"),
    (NoRoom("full"), 507, "InsufficientStorageException", "full"),
    (SystemFailed("no", passes=False), 500, "InternalServerException", "no"),
    (SystemFailed("no", passes=True), 503, "ServiceUnavailableException", "no"),
    (
        DeadlinePassed(0.5),
        504,
        "DeadlineExceededException",
        "There was no answer within the 0.5 s that the request was given.",
    ),
    (
        Quarantined("abc", "it crashed", 9.5),
        422,
        "QuarantinedRequestException",
        "The same request has ended two workers of the model, and is not tried again for now.",
    ),
    (AsksForMissing("no such thing"), 400, "InvalidModelException", "no such thing"),
    (SettingsError("bad"), 500, "InvalidConfiguration", "bad"),
    (LaunchRefused("bad"), 500, "InvalidConfiguration", "bad"),
]


@pytest.mark.parametrize(
    ("error", "status", "name", "message"), TABLE, ids=lambda value: type(value).__name__
)
def test_status_type_and_message(error: TorchkeeperError, status: int, name: str, message: str) -> None:
    assert (error.status, error.type, error.message) == (status, name, message)
    assert str(error) == message


def test_the_table_has_every_error() -> None:
    there = {
        found
        for found in vars(errors).values()
        if inspect.isclass(found) and found.__module__ == errors.__name__
    }
    assert there - {TorchkeeperError} == {type(row[0]) for row in TABLE}
    assert all(issubclass(one, TorchkeeperError) for one in there)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        *((number, 507) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
        *((number, 503) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)),
        *((number, 500) for number in (errno.EIO, errno.EROFS)),
    ],
)
def test_what_the_machine_refuses_is_nobodys_fault(number: int, status: int) -> None:
    found = system_error(OSError(number, os.strerror(number), "/a/path"), "m.mar")
    assert found is not None
    assert (found.status, found.message) == (status, f"m.mar: {os.strerror(number)}")
    assert ("Retry-After" in found.headers) is (status == 503)
    assert not found.refusal


def test_what_else_goes_wrong_is_not_the_machines() -> None:
    for error in (OSError("no number"), FileNotFoundError(errno.ENOENT, "x"), ValueError("x"), KeyError()):
        assert system_error(error, "m.mar") is None
    memory = system_error(MemoryError(), "m.mar")
    assert memory is not None
    assert memory.status == 503


def test_one_error_does_not_change_the_next() -> None:
    """The status of a worker that was killed is that one's alone, and headers are nobody else's."""
    WorkerDied("why", killed=True)
    PredictionFailed("no", status=418)
    assert WorkerDied("why").status == 500
    given = {"x": "1"}
    error = TorchkeeperError("no", headers=given)
    given["x"] = "2"
    assert error.headers == {"x": "1"}


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (BadRequest("no"), True),
        (InvalidKey(), True),
        (ServiceUnavailable("busy"), True),
        (QueueFull("full"), True),
        (PredictionFailed("no"), False),
        (PredictionFailed("no", status=418), True),
        (WorkerDied("why"), False),
        (FileExists("m"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_turned_away_and_what_failed(error: TorchkeeperError, refusal: bool) -> None:
    assert error.refusal is refusal


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BadRequest("no"), "no"),
        (BadRequest("no.", cause="it is late"), "no: it is late"),
        (WorkerDied("exit code 7"), "Worker died: exit code 7"),
    ],
)
def test_message_and_cause_in_one_line(error: TorchkeeperError, text: str) -> None:
    assert error.text == text


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (BadRequest("no"), {}),
        (MethodNotAllowed(["GET", "PUT"]), {"Allow": "GET, PUT"}),
        (ServiceUnavailable("busy"), {"Retry-After": "1"}),
        (QueueFull("full", retry_after=9), {"Retry-After": "9"}),
        (InvalidKey(), {}),
        (InvalidKey(status=403), {}),
        (InvalidKey(status=401), {"WWW-Authenticate": "Bearer"}),
        (UnknownCoding("br"), {"Accept-Encoding": "gzip, deflate"}),
    ],
)
def test_headers_that_the_status_asks_for(error: TorchkeeperError, headers: dict[str, str]) -> None:
    assert error.headers == headers


def test_a_coding_of_any_length_is_shown_in_part() -> None:
    assert len(UnknownCoding("x" * 10_000).message) < 200


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        ("the model could not be loaded: MemoryError", 507),
        ("the model could not be loaded: torch.OutOfMemoryError: CUDA out of memory. Tried to", 507),
        ("the model could not be loaded: RuntimeError: no such file", 500),
        ("the worker process was killed by SIGKILL", 500),
    ],
)
def test_a_model_that_does_not_fit_into_memory_is_told_from_one_that_cannot_be_loaded(
    cause: str, status: int
) -> None:
    assert StartFailed("m", "1.0", cause).status == status


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("No such file: '/srv/a b/models/x.json'", "No such file: 'x.json'"),
        (
            "cannot identify <_io.BytesIO object at 0x7f3a12345678>",
            "cannot identify <_io.BytesIO object at 0x...>",
        ),
        ("/srv/x/y.py:3: bad, /usr/lib/a.so too", "y.py:3: bad, a.so too"),
        ("file:///etc/ssl/key.pem is none", "key.pem is none"),
        ("at http://host/a/b and s3://b/k/x", "at http://host/a/b and s3://b/k/x"),
        ("(m_handler.py, line 3)", "(m_handler.py, line 3)"),
        ("shapes [3/4/5], a/b/c, 1/2, /x, ~/models/x", "shapes [3/4/5], a/b/c, 1/2, /x, ~/models/x"),
        ("the mask 0x1f is odd", "the mask 0x1f is odd"),
    ],
)
def test_clients_are_told_no_folders_and_no_addresses(cause: str, told: str) -> None:
    error = TorchkeeperError("It failed.", cause=cause)
    assert (error.told, error.text, error.cause) == (told, f"It failed: {told}", cause)


def test_what_is_told_takes_no_time() -> None:
    for text in ("/" * 100_000, "/a" * 50_000, "'/a" * 30_000, "'" + "/a" * 50_000, "0x" * 50_000):
        outward(text)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "/srv/x"), "No such file or directory"),
        (OSError("no such thing"), "no such thing"),
        (ValueError("two\n  lines"), "two lines"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_has_a_reason_without_its_path_and_never_none(error: Exception, said: str) -> None:
    assert reason_of(error) == said
