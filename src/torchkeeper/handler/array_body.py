"""Arrays as bodies, by content type: JSON, CSV and NPY, as SageMaker's inference scripts send and get them.

Pure. Source: the default decoders and encoders of SageMaker's inference toolkit; a .npy file with pickled
objects is refused here, because a body is data.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
#: The content types whose bodies are text.
TEXTS = (JSON, CSV)


class Unsupported(ValueError):
    """A content type that is none of these."""


def decoded(body: str | bytes | bytearray, content_type: str) -> np.ndarray[Any, Any]:
    """The array in a body.

    Raises:
        Unsupported: the content type is unknown.
        ValueError: the body is none of its content type.
    """
    if content_type == NPY:
        file = io.BytesIO(body.encode() if isinstance(body, str) else body)
        array: np.ndarray[Any, Any] = np.load(file, allow_pickle=False)
        return array
    if content_type not in TEXTS:
        raise Unsupported(f"Content type {content_type} is not supported; it must be {_known()}.")
    text = body if isinstance(body, str) else body.decode()
    if content_type == JSON:
        return np.array(json.loads(text))
    return np.genfromtxt(io.StringIO(text), delimiter=",")


def encoded(value: Any, accept: str) -> tuple[bytes, str]:
    """A value as the body of the first acceptable content type that is known, and that content type.

    Raises:
        Unsupported: none of those in `accept`, a header of that name, is known.
    """
    for wanted in accept.split(","):
        content_type = plain(wanted)
        encoder = _ENCODERS.get(JSON if content_type in ("*/*", "application/*") else content_type)
        if encoder is not None:
            return encoder(value), content_type if content_type in _ENCODERS else JSON
    raise Unsupported(f"Accept: {accept} names nothing that can be sent; it must be {_known()}.")


def plain(content_type: str) -> str:
    """A content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _known() -> str:
    return ", ".join(_ENCODERS)


def _json(value: Any) -> bytes:
    def array(inner: Any) -> Any:
        if hasattr(inner, "tolist"):
            return inner.tolist()
        raise TypeError(f"Object of type {type(inner).__name__} is not JSON serializable")

    return json.dumps(value, default=array).encode()


def _csv(value: Any) -> bytes:
    text = io.StringIO()
    np.savetxt(text, np.atleast_1d(value), delimiter=",", fmt="%s")
    return text.getvalue().encode()


def _npy(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(value), allow_pickle=False)
    return file.getvalue()


_ENCODERS: dict[str, Callable[[Any], bytes]] = {JSON: _json, CSV: _csv, NPY: _npy}
