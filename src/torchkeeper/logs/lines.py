"""Log lines as text: what happened in, one line out, in TorchServe's form or as JSON.

Pure; called by the log thread only. Source of the plain forms: TorchServe's log4j2 defaults and metric lines.
A line as JSON has `time`, `level`, `logger`, `message` and what else is known, each only where it is known:
`request_id`, `model`, `worker`, and the parts of an access or metric line.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from torchkeeper.metrics.java import java_double
from torchkeeper.wire.messages import Sample

#: Where a path names a model; for log lines only, the router decides what a path means.
_MODEL = re.compile(r"/(?:predictions|explanations|models|v1/models|v2/models)/([^/?:]+)")
#: Milliseconds in three digits: looked up for every line, and formatting is slow.
_THOUSANDTHS = tuple(f"{number:03}" for number in range(1000))
_WORKER = re.compile(r"W-\d+-(.+)_[^_]+")

Formats = Mapping[str, Callable[..., str]]


def timestamp(moment: float) -> str:
    """ISO time with milliseconds after a comma, local time."""
    second = int(moment)
    return f"{_second(second)},{_THOUSANDTHS[int((moment - second) * 1000)]}"


@functools.lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second).isoformat()


def worker_model(worker: str) -> str:
    """The model in a worker's name `W-9000-mnist_1.0`; empty when it is no such name."""
    match = _WORKER.fullmatch(worker)
    return match[1] if match else ""


# --- TorchServe's forms -------------------------------------------------------------------------------------


def _access_text(method: bytes, path: bytes, version: str, status: int, ms: float) -> str:
    return f'"{method.decode("ascii")} {path.decode("latin-1")} HTTP/{version}" {status} {round(ms)}'


def _access(moment: float, client: str, *said: Any) -> str:
    """`said` is the rest of what `Logs.access` takes, in its order."""
    method, path, version, status, ms, _ = said
    return f"{timestamp(moment)} - /{client} {_access_text(method, path, version, status, ms)}"


def _ts(moment: float, level: str, thread: str, name: str, text: str, known: Mapping[str, str]) -> str:
    return f"{timestamp(moment)} [{level:<5}] {thread} {name} - {text}"


def _model(moment: float, worker: str, stream: str, line: str) -> str:
    level = "INFO " if stream == "stdout" else "WARN "
    return f"{timestamp(moment)} [{level}] {worker}-{stream} MODEL_LOG - {line}"


def _metric_text(moment: float, sample: Sample, hostname: str) -> str:
    dimensions = _dimensions(sample.dimensions)
    request = f"requestID:{sample.request_id}," if sample.request_id else ""
    return (
        f"{sample.name}.{sample.unit}:{java_double(sample.value)}|#{dimensions}"
        f"|#hostname:{hostname},{request}timestamp:{int(moment)}"
    )


@functools.lru_cache(maxsize=128)
def _dimensions(pairs: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{name}:{value}" for name, value in pairs)


def _metric(moment: float, sample: Sample, hostname: str) -> str:
    return f"{timestamp(moment)} - {_metric_text(moment, sample, hostname)}"


PLAIN: Formats = {
    "access": _access,
    "ts": _ts,
    "model": _model,
    "model_metrics": _metric,
    "ts_metrics": _metric,
}


# --- JSON ---------------------------------------------------------------------------------------------------


def _json(moment: float, level: str, logger: str, message: str, **known: Any) -> str:
    time = datetime.fromtimestamp(moment).astimezone().isoformat(timespec="milliseconds")
    line = {"time": time, "level": level, "logger": logger, "message": message}
    line |= {name: value for name, value in known.items() if value not in ("", None)}
    return msgspec.json.encode(line).decode()


def _access_json(moment: float, client: str, *said: Any) -> str:
    method, path, version, status, ms, request_id = said
    target = path.decode("latin-1")
    match = _MODEL.match(target)
    return _json(
        moment,
        "INFO",
        "ACCESS_LOG",
        _access_text(method, path, version, status, ms),
        request_id=request_id.decode("latin-1"),
        model=match[1] if match else "",
        client=client,
        method=method.decode("ascii"),
        path=target,
        status=status,
        ms=round(ms, 3),
    )


def _ts_json(moment: float, level: str, thread: str, name: str, text: str, known: Mapping[str, str]) -> str:
    return _json(moment, level, name, text, thread=thread, **known)


def _model_json(moment: float, worker: str, stream: str, line: str) -> str:
    level = "INFO" if stream == "stdout" else "WARN"
    return _json(moment, level, "MODEL_LOG", line, model=worker_model(worker), worker=worker, stream=stream)


def _metric_json(logger: str) -> Callable[[float, Sample, str], str]:
    def form(moment: float, sample: Sample, hostname: str) -> str:
        dimensions = dict(sample.dimensions)
        return _json(
            moment,
            "INFO",
            logger,
            _metric_text(moment, sample, hostname),
            request_id=sample.request_id,
            model=dimensions.get("ModelName", ""),
            worker=dimensions.get("WorkerName", ""),
            name=sample.name,
            value=sample.value,
            unit=sample.unit,
            type=sample.type,
            dimensions=dimensions,
            hostname=hostname,
        )

    return form


JSON: Formats = {
    "access": _access_json,
    "ts": _ts_json,
    "model": _model_json,
    "model_metrics": _metric_json("MODEL_METRICS"),
    "ts_metrics": _metric_json("TS_METRICS"),
}
