"""Helpers for the tests of handlers: a context without a server, and a handler run in this process.

Goes through the same loader and service as a worker, so a handler that works here works in a server; starts
no process and opens no socket.
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.handler.context import Context, RequestProcessor
from torchkeeper.handler.helpers import get_yaml_config
from torchkeeper.handler.metrics_store import MetricsStore
from torchkeeper.wire.messages import Failure, Input, Kind, ModelSpec, Part, Reply
from torchkeeper.worker.loader import load

#: One request: a raw body, or its parameters by name, each with a content type if wanted.
Request = bytes | str | Mapping[str, bytes | str | tuple[bytes | str, str]]

#: Largest reply of `run_handler` in bytes.
MAX_REPLY = 1 << 30


class MockContext(Context):
    """A context for `handler.initialize` and `handler.handle` in unit tests.

    Its batch begins with one request and grows by those that are asked for: `get_request_header(2, ...)` or
    `set_response_status(500, idx=2)` makes it one of three. Set `explain = True` to make the requests ask for
    an explanation. What the handler records stands in `metrics.store`.

    Args:
        model_pt_file: serialized file below model_dir; None for none.
        model_dir: folder of the model's files.
        model_file: source of an eager model below model_dir; None for none.
        gpu_id: GPU index, used only where torch sees a GPU.
        model_name: label of recorded metrics.
        model_yaml_config_file: model-config.yaml below model_dir.
    """

    def __init__(
        self,
        model_pt_file: str | None = "model.pt",
        model_dir: str | Path = "ts/torch_handler/unit_tests/models/tmp",
        model_file: str | None = "model.py",
        gpu_id: str | int | None = "0",
        model_name: str = "mnist",
        model_yaml_config_file: str | None = None,
    ) -> None:
        files = {"serializedFile": model_pt_file, "modelFile": model_file}
        config = get_yaml_config(Path(model_dir) / model_yaml_config_file) if model_yaml_config_file else {}
        gpu = int(gpu_id) if gpu_id is not None and torch.cuda.is_available() else None
        super().__init__(
            model_name,
            str(model_dir),
            {"model": {key: value for key, value in files.items() if value}},
            1,
            gpu,
            TORCHSERVE_VERSION,
            metrics=MetricsStore(None, model_name),
            model_yaml_config=config,
        )
        self.request_ids = {}
        self.metrics.set_request_ids(self.request_ids)
        self._headers: dict[str, str] = {}
        self.request_processor = _Batch(self.request_ids, self._headers)

    @property
    def explain(self) -> bool:
        """Whether the batch's request asks for an explanation."""
        return bool(self.get_request_header(0, "explain") == "True")

    @explain.setter
    def explain(self, wanted: bool) -> None:
        self._headers["explain"] = str(bool(wanted))
        self.request_processor = _Batch(self.request_ids, self._headers)

    def get_request_id(self, idx: int = 0) -> str | None:
        """Id of a request of the batch."""
        self._processor(idx)
        return super().get_request_id(idx)

    def get_request_header(self, idx: int, exp: str) -> Any:
        """A header of a request of the batch, in any case; None when it has none of that name."""
        return super().get_request_header(idx, exp)


class _Batch(list[RequestProcessor]):
    """The requests of a MockContext: one at first, and as many as are asked for.

    Args:
        ids: gets an id for each.
        headers: the headers of each.
    """

    def __init__(self, ids: dict[int, str] | None, headers: dict[str, str]) -> None:
        super().__init__()
        self._ids = {} if ids is None else ids
        self._headers = headers
        self._grow(1)

    def _grow(self, count: int) -> None:
        for place in range(len(self), count):
            self._ids.setdefault(place, str(uuid.uuid4()))
            self.append(RequestProcessor(self._headers))

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, int):
            self._grow(place + 1)
        return super().__getitem__(place)


def run_handler(
    handler: str | Path,
    requests: Sequence[Request],
    *,
    kind: Kind = Kind.PREDICT,
    model: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    **spec: Any,
) -> list[Reply | Failure]:
    """Loads a handler as a worker would, and answers one batch.

    Args:
        handler: path of a handler file (its folder is the model's folder unless spec says otherwise), with
            `:function` after it if wanted, or the name of a built-in handler.
        requests: the batch.
        kind: what is asked: prediction, explanation or description.
        model: the manifest's `model` section, such as {"modelFile": "net.py", "serializedFile": "net.pt"}.
        headers: the headers of every request.
        spec: further fields of `wire.messages.ModelSpec`, such as model_dir, envelope, gpu_id or
            model_config.

    Returns:
        One Reply or Failure per request, as the server would get them; parts of streamed answers are joined.

    Raises:
        Exception: whatever loading the handler raises.
    """
    path = Path(handler)
    model_dir = Path(spec.pop("model_dir", path.parent)).resolve()
    manifest = {"model": {"modelName": "model", "handler": path.name, **(model or {})}}
    fields: dict[str, Any] = {
        "name": "model",
        "version": "1.0",
        "envelope": None,
        "gpu_id": None,
        "threads": 1,
    }
    fields |= {"batch_size": len(requests), "model_dir": str(model_dir), "manifest": manifest}
    with _working_in(model_dir):
        service = load(ModelSpec(**(fields | {"handler": path.name} | spec)), MAX_REPLY)
        inputs = [
            Input(str(uuid.uuid4()), kind, _parts(request), dict(headers or {})) for request in requests
        ]
        parts = _Parts(len(inputs))
        return [parts.joined(place, outcome) for place, outcome in enumerate(service.predict(inputs, parts))]


class _Parts:
    """Collects the parts of streamed answers; nobody leaves."""

    def __init__(self, count: int) -> None:
        self._parts: list[list[Reply]] = [[] for _ in range(count)]

    def send(self, parts: Sequence[Reply | None]) -> None:
        for collected, part in zip(self._parts, parts, strict=True):
            if part is not None:
                collected.append(part)

    def gone(self) -> tuple[int, ...]:
        return ()

    def joined(self, place: int, outcome: Reply | Failure) -> Reply | Failure:
        parts = self._parts[place]
        if not parts or isinstance(outcome, Failure):
            return outcome
        return msgspec.structs.replace(parts[0], body=b"".join(part.body for part in (*parts, outcome)))


def _parts(request: Request) -> tuple[Part, ...]:
    if not isinstance(request, Mapping):
        return (Part("body", _bytes(request)),)
    return tuple(
        Part(name, _bytes(value[0]), value[1]) if isinstance(value, tuple) else Part(name, _bytes(value))
        for name, value in request.items()
    )


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Puts back what loading a handler changes for the process: working folder, sys.path, sys.modules."""
    before, path, modules = os.getcwd(), list(sys.path), dict(sys.modules)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if modules.get(name) is not module and _lies_in(folder, module):
                del sys.modules[name]
                if name in modules:
                    sys.modules[name] = modules[name]


def _lies_in(folder: Path, module: object) -> bool:
    source = getattr(module, "__file__", None)
    return bool(source) and Path(str(source)).resolve().parent == folder
