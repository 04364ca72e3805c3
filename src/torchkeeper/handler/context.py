"""What a handler is told about its model and its batch, and where it leaves status and headers.

One Context lives as long as the worker; `worker.service` gives it new request processors and ids for each
batch, so nothing leaks from one request to the next. Must not import torch: unit tests of handlers and the
server's own light processes build contexts without it. Source of names and behaviour: TorchServe 0.12's
`ts.context`; header look-ups are case-insensitive here, where TorchServe's depend on the client's spelling.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from torchkeeper.handler.response_head import checked_header, checked_status
from torchkeeper.wire.messages import Signature

CONTENT_TYPE = "content-type"
#: What a processor calls the status among the headers; no header can have this name.
STATUS = ":status"

#: Attribute -> (environment variable that TorchServe documents, header name without it).
_SEQUENCE_HEADERS = {
    "header_key_sequence_id": ("TS_REQUEST_SEQUENCE_ID", "ts_request_sequence_id"),
    "header_key_sequence_start": ("TS_REQUEST_SEQUENCE_START", "ts_request_sequence_start"),
    "header_key_sequence_end": ("TS_REQUEST_SEQUENCE_END", "ts_request_sequence_end"),
}


class Headers(dict[str, Any]):
    """Headers with the names as given, found in any case; an exact spelling wins over another one."""

    def _spelling(self, key: object) -> str | None:
        if not isinstance(key, str):
            return None
        wanted = key.lower()
        return next((name for name in self if name.lower() == wanted), None)

    def __missing__(self, key: str) -> Any:
        name = self._spelling(key)
        if name is None:
            raise KeyError(key)
        return dict.__getitem__(self, name)

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or self._spelling(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """The header's value in whatever case it was written, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default


class RequestProcessor:
    """One request's headers, and the status and headers that its answer shall have.

    Args:
        request_header: header name -> value; a parameter's entry is {"content-type": ...}.
    """

    def __init__(self, request_header: dict[str, Any]) -> None:
        self._request_header = Headers(request_header)
        self._response_header = Headers()
        self._status_code = 200
        self._reason_phrase: str | None = None
        #: Where the handler set what no answer can have: STATUS or a header's name -> file and line.
        self.set_at: dict[Any, str] = {}

    def get_request_property(self, key: str) -> Any:
        """A request header in any case; None when the client did not send it."""
        return self._request_header.get(key)

    def get_request_properties(self) -> dict[str, Any]:
        """All request headers, names as given."""
        return self._request_header

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Sets the HTTP status and reason phrase of the answer."""
        self._status_code = code
        self._reason_phrase = reason_phrase
        self._check(STATUS, checked_status, code)

    def get_response_status_code(self) -> int:
        """Status of the answer, 200 unless set."""
        return self._status_code

    def get_response_status_phrase(self) -> str | None:
        """Reason phrase of the answer; None unless set."""
        return self._reason_phrase

    def add_response_property(self, key: str, value: str) -> None:
        """Sets a header of the answer."""
        self._response_header[key] = value
        self._check(key, checked_header, key, value)

    def _check(self, what: str, check: Callable[..., object], *values: Any) -> None:
        """Remembers where a wrong value comes from: the worker, not the handler, fails one request for it."""
        try:
            check(*values)
        except ValueError:
            self.set_at[what] = _line_of_the_handler()

    def get_response_headers(self) -> dict[str, str]:
        """Headers that the handler set so far."""
        return self._response_header

    @property
    def untouched(self) -> bool:
        """Whether the handler has set nothing of the answer: neither status, phrase nor a header."""
        return self._status_code == 200 and self._reason_phrase is None and not self._response_header

    def get_response_header(self, key: str) -> str | None:
        """One of the headers that the handler set; None when it did not."""
        value: str | None = self._response_header.get(key)
        return value


def _line_of_the_handler() -> str:
    """File and line of the nearest caller outside of this module."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}"


class Line(Protocol):
    """A batch's way to its clients while it is computed."""

    def send(self, values: Sequence[Any], status: int | None = None) -> None:
        """Sends one part per request (None: nothing for that one), with a status other than the context's."""

    def gone(self) -> Collection[int]:
        """Indexes of the requests whose clients left."""


def _also(attribute: str) -> property:
    """Another name of an attribute."""
    return property(operator.attrgetter(attribute), lambda self, value: setattr(self, attribute, value))


class Context:
    """The model's facts and the current batch's requests, as handlers know them from TorchServe.

    Args:
        model_name: name the model is registered under.
        model_dir: folder with the archive's files.
        manifest: the archive's MANIFEST.json as a dict.
        batch_size: largest batch that will be sent.
        gpu: index of the GPU, or None for the CPU.
        mms_version: version of the TorchServe interface, "0.12.0".
        limit_max_image_pixels: False lifts Pillow's limit on image sizes.
        metrics: a `handler.recorder.Recorder`.
        model_yaml_config: the whole model-config.yaml; None means {}.
    """

    #: Header names of stateful sequences.
    header_key_sequence_id: str
    header_key_sequence_start: str
    header_key_sequence_end: str

    # TorchServe's names of what it keeps there: handlers read them, and their tests set them.
    _request_processor = _also("request_processor")
    _metrics = _also("metrics")

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any],
        batch_size: int,
        gpu: int | None,
        mms_version: str,
        limit_max_image_pixels: bool = True,
        metrics: Any = None,
        model_yaml_config: dict[str, Any] | None = None,
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config = {} if model_yaml_config is None else model_yaml_config
        self.metrics = metrics
        #: Index in the batch -> request id.
        self.request_ids: dict[int, str] | None = None
        #: One per request of the batch.
        self.request_processor: list[RequestProcessor] | None = None
        #: One callable per request when a handler batches continuously.
        self.stopping_criteria: Any = None
        self.cl_socket: Any = None
        #: The tensors that the model takes and gives; a handler that knows them says so when it initialises.
        self.signature: Signature | None = None
        #: The models that `execution` is applied to, where the handler names them; else its `self.model`.
        self.models: list[Any] = []
        #: What was applied of `execution` after the handler had initialised.
        self.execution: dict[str, Any] = {}
        #: Whether the model's folder is the server's own unpacked copy, which nobody changes.
        self.unpacked = False
        #: The folder where compiled code is kept; "" for none.
        self.compile_cache = ""
        #: Bytes that it may hold; None: any number.
        self.compile_cache_max_bytes: int | None = None
        #: Set while a batch is computed by a server.
        self.line: Line | None = None
        self._system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": mms_version,
            "limit_max_image_pixels": limit_max_image_pixels,
        }
        for attribute, (variable, default) in _SEQUENCE_HEADERS.items():
            setattr(self, attribute, os.environ.get(variable, default))

    @property
    def system_properties(self) -> dict[str, Any]:
        """model_dir, gpu_id, batch_size, server_name, server_version, limit_max_image_pixels."""
        return self._system_properties

    def _processor(self, idx: int) -> RequestProcessor:
        if self.request_processor is None:
            raise RuntimeError("no batch yet: the context has requests only while a batch is handled")
        return self.request_processor[idx]

    def get_request_id(self, idx: int = 0) -> str | None:
        """Id of the batch's request number idx, as in the answer's x-request-id."""
        return None if self.request_ids is None else self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:
        """A header of request number idx, in any case; None when the client did not send it."""
        return self._processor(idx).get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        """All headers of request number idx, names as the client gave them."""
        return self._processor(idx).get_request_properties()

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Content type of the answer to request number idx."""
        self.set_response_header(idx, CONTENT_TYPE, value)

    def get_response_content_type(self, idx: int) -> str | None:
        """Content type that was set; None when the server will choose by the value's kind."""
        return self._processor(idx).get_response_header(CONTENT_TYPE)

    def get_response_status(self, idx: int) -> tuple[int, str | None]:
        """(status, reason phrase) of the answer to request number idx."""
        processor = self._processor(idx)
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Status and reason phrase of the answer to request number idx; nothing happens without a batch."""
        if self.request_processor is not None:
            self.request_processor[idx].report_status(code, reason_phrase=phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Status and reason phrase of all answers of the batch."""
        for processor in self.request_processor or ():
            processor.report_status(code, reason_phrase=phrase)

    def get_response_headers(self, idx: int) -> dict[str, str]:
        """Headers set for the answer to request number idx."""
        return self._processor(idx).get_response_headers()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Sets a header of the answer to request number idx."""
        self._processor(idx).add_response_property(key, value)

    @property
    def cancelled(self) -> bool:
        """Whether all clients of the batch have left, so that a handler that computes long may stop."""
        count = len(self.request_processor or ())
        return self.line is not None and len(self.line.gone()) == count > 0

    def is_cancelled(self, idx: int) -> bool:
        """Whether the client of request number idx has left."""
        return self.line is not None and idx in self.line.gone()

    def get_sequence_id(self, idx: int) -> Any:
        """Id of the stateful sequence that request number idx belongs to."""
        return self.get_request_header(idx, self.header_key_sequence_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self.__dict__ == other.__dict__
