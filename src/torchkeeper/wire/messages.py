"""The nouns that cross borders between the front process, the template and the workers.

Pure values: frozen, no I/O. A request's payload (`Input`) travels on to the worker; what its answer needs
(the ticket: future, times, connection) never leaves the front. The wire (`wire.frames`) turns the messages
below into frames; `raw` parts of a frame hold the payload bytes, so that they are never copied into msgpack.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from torchkeeper.wire.execution import AS_IT_IS, Execution


class Kind(enum.IntEnum):
    """What is asked of a handler; a batch holds one kind and one envelope only."""

    PREDICT = 0
    EXPLAIN = 1
    DESCRIBE = 2


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One named parameter of a request: `data`, `body`, a form field or a query parameter."""

    name: str
    value: bytes
    content_type: str | None = None
    #: A form's field that is no file: the handler gets bytes, whatever the content type.
    plain: bool = False
    #: What follows of a value that came in pieces: the front never joins them, the worker gets it whole.
    rest: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value) + sum(map(len, self.rest)) if self.rest else len(self.value)


class Input(msgspec.Struct, frozen=True, array_like=True):
    """What a client sent: named parameters and headers (names as given, last of a repeated name wins)."""

    request_id: str
    kind: Kind
    parts: tuple[Part, ...]
    headers: dict[str, str]
    #: The envelope that the request's URL asks for; None: the one that the settings name, if any.
    envelope: str | None = None


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """A handler's answer to one request."""

    body: bytes
    status: int = 200
    phrase: str = ""
    headers: dict[str, str] = {}
    content_type: str | None = None


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A request that the handler could not answer: TorchServe's status and message, and our cause."""

    status: int
    message: str
    cause: str | None = None


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One number recorded by a handler through `context.metrics` (values travel, never text in logs)."""

    name: str
    value: float
    unit: str
    type: str
    dimensions: tuple[tuple[str, str], ...]
    request_id: str = ""


class Declared(msgspec.Struct, frozen=True, array_like=True):
    """A metric of metrics.yaml: a counter, gauge or histogram, its unit's text and its labels' names."""

    name: str
    kind: str
    unit: str
    dimensions: tuple[str, ...] = ()


class TensorSpec(msgspec.Struct, frozen=True, array_like=True):
    """An input or output of a model; -1 in the shape: of no fixed length, None: unknown."""

    name: str
    datatype: str | None = None
    shape: tuple[int, ...] | None = None


class Signature(msgspec.Struct, frozen=True, array_like=True):
    """The tensors that a model takes and gives, as its file says."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


class Together(msgspec.Struct, frozen=True, array_like=True):
    """How many requests may be in a batch, as a worker's warm-up has shown; `why` no more than one."""

    most: int = 1
    why: str = ""


class ModelSpec(msgspec.Struct, frozen=True):
    """All that a worker must know to load a model."""

    name: str
    version: str
    model_dir: str
    manifest: dict[str, Any]
    handler: str
    envelope: str | None
    gpu_id: int | None
    batch_size: int
    #: Threads of torch's operators; None: the user's own OMP_NUM_THREADS holds.
    threads: int | None
    limit_max_image_pixels: bool = True
    #: None: Pillow's own bound holds.
    max_image_pixels: int | None = None
    decode_input_request: bool = True
    #: What becomes of NaN and Infinity in answers: keep, null or error.
    nan_in_answers: str = "keep"
    model_config: dict[str, Any] = {}
    #: Whether a batch that failed is run again in halves, and how many seconds it may take in all.
    split_failed_batches: bool = True
    response_timeout: float = 120.0
    #: The archive's requirements file, where it is not installed.
    ignored_requirements: str | None = None
    #: The metrics that handlers find declared in `context.metrics`.
    metrics: tuple[Declared, ...] = ()
    #: How the model is run.
    execution: Execution = AS_IT_IS
    #: Whether its folder is the server's own unpacked copy: no file in it is changed while workers run.
    unpacked: bool = False
    #: How it runs as far as it can, where it does not say that itself.
    wished: Execution = AS_IT_IS
    #: The cores that the worker is pinned to; none: it may run on any.
    cores: tuple[int, ...] = ()
    #: The folder where compiled code is kept; "" for none.
    compile_cache: str = ""
    #: Bytes that it may hold; None: any number.
    compile_cache_max_bytes: int | None = None
    #: Whether warm-up finds out how many requests may be in a batch, up to `batch_size`.
    auto_batches: bool = False


class User(msgspec.Struct, frozen=True, array_like=True):
    """A user of the system, as processes are one."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


class Sandbox(msgspec.Struct, frozen=True):
    """What a worker's process may do; decided in the front, for good from before the model's code."""

    #: strict, default or off.
    level: str = "off"
    network: bool = True
    #: Who it becomes, if the server is root.
    user: User | None = None
    #: By the names of `ulimit`: nofile, nproc, as and fsize (bytes).
    limits: dict[str, int] = {}
    #: The model's folder.
    model_dir: str = ""
    #: The server's own files and folders: nothing that they lie in is Python's.
    own: tuple[str, ...] = ()
    gpu: bool = False
    #: Where its own temporary folder is made, and that folder; strict only.
    temp_dir: str = ""
    scratch: str = ""


#: That of a worker which may do what the server may.
FREE = Sandbox()


class Confinement(msgspec.Struct, frozen=True, array_like=True):
    """What is in force of a worker's sandbox: what its kernel says of it, and sentences about what is not."""

    level: str
    parts: dict[str, Any]
    lacking: tuple[str, ...] = ()
