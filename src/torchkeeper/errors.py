"""One tree of exceptions; each knows its HTTP status and TorchServe's name for it.

Source of codes, types and messages: TorchServe 0.12's REST API (its error table). The three
fields `code`, `type` and `message` are TorchServe's byte for byte; what torchkeeper knows beyond
them (the exit code of a worker, an exception's type and first sentence) travels in `cause`, a fourth
field.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterable, Mapping

from torchkeeper.wire.remedies import out_of_memory

#: How a system says that a disk has no room, and that there is nothing left of something else for now.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN)
#: How it says that a disk fails.
_BROKEN = (errno.EIO, errno.EROFS)
#: Addresses of memory, and paths from the root on: each with what of it may be told.
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_PATH = re.compile(
    r"(?<=['\"])(?:/[^/'\"\n]+)+/(?=[^/'\"\n]*['\"])"
    r"|(?<![\w.:/~-])(?:file:/*)?/(?:[^\s/'\"<>|:;,()]+/)+(?=[^\s/'\"<>|:;,()]*)"
)


def outward(text: str) -> str:
    """A text for clients: files without their folders, and no addresses of memory."""
    return _PATH.sub("", _ADDRESS.sub("0x...", text))


class TorchkeeperError(Exception):
    """Base of all errors that reach a client or a command line with a text of their own."""

    status = 500
    type = "InternalServerException"

    def __init__(
        self, message: str, *, cause: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        #: Additional response headers, such as Retry-After.
        self.headers = dict(headers or {})

    @property
    def refusal(self) -> bool:
        """Whether the request was turned away, and nothing failed: the client's fault, or nobody is free."""
        return self.status < 500

    @property
    def told(self) -> str | None:
        """The cause as clients are told it; the log has all of it."""
        return outward(self.cause) if self.cause else None

    @property
    def text(self) -> str:
        """Message and cause in one line, for protocols whose errors are a single text."""
        return f"{self.message.removesuffix('.')}: {self.told}" if self.cause else self.message


class BadRequest(TorchkeeperError):
    """The request cannot be understood: 400."""

    status = 400
    type = "BadRequestException"


class BadEscape(TorchkeeperError):
    """A path with a broken % escape: TorchServe answers 403."""

    status = 403
    type = "IllegalArgumentException"


class ResourceNotFound(TorchkeeperError):
    """No such route: 404."""

    status = 404
    type = "ResourceNotFoundException"

    def __init__(self) -> None:
        super().__init__("Requested resource is not found, please refer to API document.")


class ModelNotFound(TorchkeeperError):
    """No model of that name: 404."""

    status = 404
    type = "ModelNotFoundException"

    def __init__(self, name: str, cause: str | None = None) -> None:
        super().__init__(f"Model not found: {name}", cause=cause)


class ModelVersionNotFound(TorchkeeperError):
    """The model is there, the version is not: 404."""

    status = 404
    type = "ModelVersionNotFoundException"

    def __init__(self, name: str, version: str, *, for_default: bool = False) -> None:
        # TorchServe's sentence differs by a colon where the default version is set.
        text = f"Model version {version} does not exist for model {name}"
        super().__init__(
            text if for_default else f"Model version: {version} does not exist for model: {name}"
        )


class ModelNotAt(TorchkeeperError):
    """A model URL that leads nowhere, or nowhere allowed: 404; the text says which."""

    status = 404
    type = "ModelNotFoundException"


class InvalidModelVersion(TorchkeeperError):
    """A model's default version cannot go while others stay: 403."""

    status = 403
    type = "InvalidModelVersionException"

    def __init__(self, name: str) -> None:
        super().__init__(f"Cannot remove default version for model {name}")


class Conflict(TorchkeeperError):
    """That version of that model is registered already: 409."""

    status = 409
    type = "ConflictStatusException"

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"Model version {version} is already registered for model {name}")


class DownloadFailed(TorchkeeperError):
    """An archive could not be fetched: 400; `cause` says why."""

    status = 400
    type = "DownloadArchiveException"

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"Failed to download archive from: {url}", cause=cause)


class FileExists(TorchkeeperError):
    """A download would replace a file of the model store: 500, TorchServe's status."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Model file already exists {name}")


class StartFailed(TorchkeeperError):
    """No worker of a newly registered model could load it: 500; the model is not registered.

    507 where the memory did not suffice: by it SageMaker's multi-model endpoints know to unload another one.
    """

    def __init__(self, name: str, version: str, cause: str) -> None:
        super().__init__(f"Failed to start workers for model {name} version: {version}", cause=cause)
        if out_of_memory(cause):
            self.status = 507


class RequirementsFailed(TorchkeeperError):
    """A model's requirements could not be installed: 400; `cause` has the installer's last lines."""

    status = 400
    type = "ModelException"

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"Custom pip package installation failed for model {name}", cause=cause)


class CleaningTimedOut(TorchkeeperError):
    """A model could not be unregistered in time: 408."""

    status = 408
    type = "RequestTimeoutException"

    def __init__(self, name: str) -> None:
        super().__init__(f"Timed out while cleaning resources: {name}")


class FeatureMissing(TorchkeeperError):
    """A path of TorchServe's to which nothing leads here: 501, with a sentence that says what to do."""

    status = 501
    type = "NotImplementedException"
    refusal = True


class MethodNotAllowed(TorchkeeperError):
    """The route exists, the method does not: 405 with the methods that do (RFC 9110, section 15.5.6)."""

    status = 405
    type = "MethodNotAllowedException"

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__(
            "Requested method is not allowed, please refer to API document.",
            headers={"Allow": ", ".join(allowed)},
        )


class InvalidKey(TorchkeeperError):
    """No key, a wrong or an expired one: 400, TorchServe's; strictly 401 (none) or 403 (wrong, expired)."""

    status = 400
    type = "InvalidKeyException"

    def __init__(
        self, *, renewal: bool = False, status: int = 400, delay: float = 0.0, cause: str | None = None
    ) -> None:
        what = "Authentication" if renewal else "Authorization"  # TorchServe's word where keys are renewed
        super().__init__(
            f"Token {what} failed. Token either incorrect, expired, or not provided correctly",
            cause=cause,
            headers={"WWW-Authenticate": "Bearer"} if status == 401 else None,
        )
        self.status = status
        #: Seconds that the answer waits, so that guessing takes time.
        self.delay = delay


class RequestTooLarge(TorchkeeperError):
    """The body passes max_request_size: 413 (TorchServe sends it bare; ours can be read)."""

    status = 413
    type = "RequestEntityTooLargeException"

    def __init__(self, limit: int) -> None:
        super().__init__(f"Request body is larger than max_request_size ({limit} bytes).")


class UnknownCoding(TorchkeeperError):
    """A body in a content coding that is not known: 415 with those that are (RFC 9110, section 12.5.3)."""

    status = 415
    type = "UnsupportedMediaTypeException"

    def __init__(self, coding: str) -> None:
        super().__init__(
            f"Content-Encoding {coding[:100]!r} is neither gzip nor deflate.",
            headers={"Accept-Encoding": "gzip, deflate"},
        )


class ServiceUnavailable(TorchkeeperError):
    """Nobody can take the request now: 503 with Retry-After."""

    status = 503
    type = "ServiceUnavailableException"
    refusal = True

    def __init__(self, message: str, *, cause: str | None = None, retry_after: int = 1) -> None:
        super().__init__(message, cause=cause, headers={"Retry-After": str(retry_after)})


class QueueFull(ServiceUnavailable):
    """The model serves, and as many requests wait as may: 503 with Retry-After."""


class PredictionFailed(TorchkeeperError):
    """The handler failed; `status` is the handler's or TorchServe's for that kind of failure."""

    def __init__(self, message: str, *, status: int = 503, cause: str | None = None) -> None:
        super().__init__(message, cause=cause)
        self.status = status


class WorkerDied(TorchkeeperError):
    """The worker went away with the request in hand: 500, or 507 after SIGKILL (the OOM killer's).

    Strictly 504 where it had not answered in time.
    """

    def __init__(self, cause: str, *, killed: bool = False, late: bool = False) -> None:
        super().__init__("Worker died.", cause=cause)
        if late:
            self.status, self.type = DeadlinePassed.status, DeadlinePassed.type
        elif killed:
            self.status = 507


class DeadlinePassed(TorchkeeperError):
    """There was no answer in the time that the client gave the request: 504."""

    status = 504
    type = "DeadlineExceededException"
    refusal = True

    def __init__(self, seconds: float) -> None:
        super().__init__(f"There was no answer within the {seconds:g} s that the request was given.")


class Quarantined(TorchkeeperError):
    """A copy of a request that ended two workers by itself: 422; it is computed no more for a while."""

    status = 422
    type = "QuarantinedRequestException"

    def __init__(self, digest: str, cause: str, seconds: float) -> None:
        super().__init__(
            "The same request has ended two workers of the model, and is not tried again for now.",
            cause=f"{cause}; request sha256:{digest}, forgotten in {math.ceil(seconds)} s",
        )


class ArchiveError(TorchkeeperError):
    """An archive that cannot be written, read or trusted; `message` names the file at fault."""

    status = 400
    type = "InvalidModelException"


class NoRoom(ArchiveError):
    """An archive for which the disk has no room: 507."""

    status = 507
    type = "InsufficientStorageException"


class SystemFailed(TorchkeeperError):
    """The machine gave no descriptor, thread or memory, or its disk failed: 503 where that may pass."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message, headers={"Retry-After": "1"} if passes else None)
        if passes:
            self.status, self.type = 503, "ServiceUnavailableException"


def system_error(error: BaseException, what: str) -> NoRoom | SystemFailed | None:
    """What is told of an error that is the machine's, and not what was asked for; None: it is none.

    Args:
        error: any.
        what: could not be done; the text begins with it.
    """
    if isinstance(error, MemoryError):
        return SystemFailed(f"{what}: Cannot allocate memory", passes=True)
    number = error.errno if isinstance(error, OSError) else None
    text = f"{what}: {getattr(error, 'strerror', None)}"
    if number in _NO_ROOM:
        return NoRoom(text)
    if number in _EXHAUSTED or number in _BROKEN:
        return SystemFailed(text, passes=number in _EXHAUSTED)
    return None


def reason_of(error: BaseException) -> str:
    """What an error says in one line, without the path that it is about; its type, if it says nothing."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


class AsksForMissing(ArchiveError):
    """An archive that asks for what torchkeeper does not have; `message` says for what."""


class SettingsError(TorchkeeperError):
    """A setting that cannot be used; `message` names key, value, file and line."""

    type = "InvalidConfiguration"


class LaunchRefused(SettingsError):
    """What TorchServe's launcher refuses; the text is TorchServe's and stands alone."""
