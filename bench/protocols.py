"""The same digit over every protocol: torchkeeper beside TorchServe, where TorchServe has the protocol.

A run of its own, since it needs h2load (Debian's nghttp2-client), which speaks HTTP/2, the transport of gRPC.
docs/benchmarks.md says what is measured and how. Saves the table as bench/results/<date>-protocols.md.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import grpc
import numpy as np
from PIL import Image
from rich.console import Console

from servebench import environment, tables
from servebench.errors import BenchError
from servebench.inputs import Variant, build_archive
from servebench.load import Cell
from servebench.machine import machine, versions
from servebench.paths import CACHE, MNIST, OURS, RESULTS, THEIRS
from servebench.posting import Post, load
from servebench.servers import TORCHKEEPER, TORCHSERVE, Kind, Question, Running, drain, serving
from torchkeeper.rpc.schema import INFERENCE, OPEN_INFERENCE, TORCHSERVE_OPEN_INFERENCE, message

MODEL = "bench"
STORE = CACHE / "store"
DIGIT = 7
CONNECTIONS = (1, 16, 64)
BATCH = 16
WARM_UP, SECONDS = 1, 4
HEAD = ("protocol", "server", "requests/s at 1 / 16 / 64", "p50 ms", "p99 ms", "errors")
REACH_HEAD = ("figure", "torchkeeper", "compared with", "ratio", "reach", "")

PICTURE = MNIST / "test_data" / f"{DIGIT}.png"
PNG = PICTURE.read_bytes()
PIXELS = ((np.asarray(Image.open(PICTURE), "<f4") / 255 - 0.1307) / 0.3081).astype("<f4").reshape(1, 28, 28)
TENSOR = {"name": "input-0", "datatype": "FP32", "shape": list(PIXELS.shape)}


@dataclass(frozen=True)
class Protocol:
    """A way to ask for a digit, and how to find the digit in an answer."""

    name: str
    path: str
    body: bytes
    digit: Callable[[bytes], object]
    headers: Mapping[str, str] = field(default_factory=dict)
    #: gRPC: the messages travel in frames of HTTP/2.
    grpc: bool = False

    def post(self, server: Running) -> Post:
        """The request to a server."""
        if not self.grpc:
            return Post(server.port, self.path, self.body, self.headers, http2=False)
        frame = b"\0" + len(self.body).to_bytes(4, "big") + self.body
        headers = {"content-type": "application/grpc", "te": "trailers"}
        return Post(server.grpc_port, self.path, frame, headers, http2=True)

    def question(self) -> Question:
        """The same for whom waits for the first right answer over REST."""
        return Question(self.path, self.body, str(DIGIT).encode(), self._read)

    def _read(self, answer: bytes) -> bytes:
        try:
            return str(self.digit(answer)).encode()
        except (ValueError, LookupError, TypeError):
            return b""

    def check(self, server: Running) -> int | None:
        """One call that must give the digit; for gRPC the length of its answer in a frame."""
        if not self.grpc:
            return None
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            call = channel.unary_unary(self.path)
            answer: bytes = call(self.body, timeout=30)
        if self._read(answer) != str(DIGIT).encode():
            raise BenchError(f"{self.name} answers {answer[:200]!r}")
        return len(answer) + 5


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _v2(answer: bytes) -> object:
    return json.loads(answer)["outputs"][0]["data"][0]


def _binary() -> Protocol:
    raw = PIXELS.tobytes()
    tensor = TENSOR | {"parameters": {"binary_data_size": len(raw)}}
    head = _json({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Protocol(
        "v2 binary",
        f"/v2/models/{MODEL}/infer",
        head + raw,
        lambda answer: int.from_bytes(answer[-8:], "little"),
        headers,
    )


def _infer(name: str, service: str, *, raw: bool) -> Protocol:
    request = message("inference.ModelInferRequest")(model_name=MODEL)
    tensor = request.inputs.add(**TENSOR)
    if raw:
        request.raw_input_contents.append(PIXELS.tobytes())
    else:
        tensor.contents.fp32_contents.extend(PIXELS.ravel().tolist())
    answer = message("inference.ModelInferResponse")

    def digit(text: bytes) -> object:
        found = answer.FromString(text)
        if raw:
            return int.from_bytes(found.raw_output_contents[0], "little")
        return found.outputs[0].contents.int64_contents[0]

    return Protocol(name, f"/{service}/ModelInfer", request.SerializeToString(), digit, grpc=True)


def _predictions() -> Protocol:
    request = message("org.pytorch.serve.grpc.inference.PredictionsRequest")(model_name=MODEL)
    request.input["data"] = PNG
    answer = message("org.pytorch.serve.grpc.inference.PredictionResponse")
    return Protocol(
        "gRPC Predictions",
        f"/{INFERENCE}/Predictions",
        request.SerializeToString(),
        lambda text: json.loads(answer.FromString(text).prediction),
        grpc=True,
    )


NATIVE = Protocol("native REST", f"/predictions/{MODEL}", PNG, lambda answer: json.loads(answer))
V1 = Protocol(
    "v1 JSON",
    f"/v1/models/{MODEL}:predict",
    _json({"instances": [{"data": base64.b64encode(PNG).decode()}]}),
    lambda answer: json.loads(answer)["predictions"][0],
)
V2 = Protocol(
    "v2 JSON",
    f"/v2/models/{MODEL}/infer",
    _json({"inputs": [TENSOR | {"data": PIXELS.ravel().tolist()}]}),
    _v2,
    {"Content-Type": "application/json"},
)
BINARY = _binary()
RAW = _infer("gRPC ModelInfer, raw", OPEN_INFERENCE, raw=True)
TYPED = _infer("gRPC ModelInfer, typed", OPEN_INFERENCE, raw=False)
THEIR_TYPED = _infer("gRPC ModelInfer, typed", TORCHSERVE_OPEN_INFERENCE, raw=False)
PREDICTIONS = _predictions()


@dataclass(frozen=True)
class Case:
    """A server run: an archive, settings, and the protocols measured; the first one is REST."""

    kind: Kind
    variant: Variant
    protocols: tuple[Protocol, ...]
    settings: Mapping[str, str] = field(default_factory=dict)


#: TorchServe's envelopes lose all but the first request of a batch, so with them it runs without batches.
_V2_THERE = {"service_envelope": "kservev2", "ts_open_inference_protocol": "true"}
CASES = (
    Case(TORCHSERVE, Variant("mnist"), (NATIVE, PREDICTIONS)),
    Case(TORCHSERVE, Variant("mnist", BATCH, 1), (NATIVE, PREDICTIONS)),
    Case(TORCHSERVE, Variant("mnist", BATCH, 5), (NATIVE, PREDICTIONS)),
    Case(TORCHSERVE, Variant("mnist"), (V1,), {"service_envelope": "kserve"}),
    Case(TORCHSERVE, Variant("mnist"), (V2, THEIR_TYPED), _V2_THERE),
    Case(TORCHKEEPER, Variant("mnist", BATCH, 5), (NATIVE, V1, V2, BINARY, RAW, TYPED, PREDICTIONS)),
)

#: By protocol and server: for each archive its cells, one per round and number of connections.
Figures = dict[tuple[str, str], dict[str, list[dict[int, Cell]]]]


def measure(case: Case, figures: Figures) -> None:
    """One server run: every protocol at every number of connections."""
    archive = STORE / f"{case.variant.name}.mar"
    ask = case.protocols[0].question()
    with serving(case.kind, STORE, {MODEL: archive.name}, True, ask, case.settings) as server:
        for protocol in case.protocols:
            length = protocol.check(server)
            post = protocol.post(server)
            cells = {}
            for connections in CONNECTIONS:
                load(post, connections, WARM_UP, length)
                drain(server.port, ask)
                cells[connections] = load(post, connections, SECONDS, length)
                drain(server.port, ask)
            runs = figures.setdefault((protocol.name, case.kind.name), {})
            runs.setdefault(case.variant.name, []).append(cells)


def median(
    figures: Figures, protocol: str, server: str, connections: int, pick: Callable[[Cell], float]
) -> list[float]:
    """The median over the rounds, for each archive."""
    runs = figures.get((protocol, server), {}).values()
    return [statistics.median(pick(cells[connections]) for cells in rounds) for rounds in runs]


def rate(figures: Figures, protocol: str, server: str, connections: int) -> float:
    """Requests per second, of the better archive; NaN where the server has no such protocol."""
    return max(median(figures, protocol, server, connections, lambda cell: cell.rate), default=math.nan)


def rows(figures: Figures) -> list[tuple[str, ...]]:
    """All figures."""
    found = []
    for protocol, server in sorted(figures, key=lambda key: (_order(key[0]), key[1])):
        runs = figures[protocol, server].values()
        errors = sum(cell.errors for rounds in runs for cells in rounds for cell in cells.values())
        values = (
            _per_cell(figures, protocol, server, lambda cell: cell.rate, max),
            _per_cell(figures, protocol, server, lambda cell: cell.p50, min),
            _per_cell(figures, protocol, server, lambda cell: cell.p99, min),
        )
        found.append((protocol, server, *values, str(errors)))
    return found


def _per_cell(
    figures: Figures,
    protocol: str,
    server: str,
    pick: Callable[[Cell], float],
    best: Callable[[list[float]], float],
) -> str:
    cells = (best(median(figures, protocol, server, each, pick)) for each in CONNECTIONS)
    return " / ".join(tables.number(value) for value in cells)


def _order(protocol: str) -> int:
    return [each.name for each in CASES[-1].protocols].index(protocol)


def reaches(figures: Figures) -> list[tuple[str, ...]]:
    """The figures with a goal, at 64 connections."""
    found = []
    for protocol in CASES[-1].protocols:
        ours = rate(figures, protocol.name, TORCHKEEPER.name, CONNECTIONS[-1])
        theirs = rate(figures, protocol.name, TORCHSERVE.name, CONNECTIONS[-1])
        if math.isnan(theirs):
            continue
        found.append(_reach(protocol.name, ours, theirs, 3.0))
    native = rate(figures, NATIVE.name, TORCHKEEPER.name, CONNECTIONS[-1])
    binary = rate(figures, BINARY.name, TORCHKEEPER.name, CONNECTIONS[-1])
    return [*found, _reach("v2 binary, of native REST", binary, native, 0.85)]


def _reach(figure: str, ours: float, other: float, goal: float) -> tuple[str, ...]:
    verdict = "pass" if ours / other >= goal else "short"
    cells = (f"{tables.number(value)} requests/s" for value in (ours, other))
    return (f"{figure}, {CONNECTIONS[-1]} connections", *cells, f"{ours / other:.2f}", f"≥ {goal:g}", verdict)


def main() -> int:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="bench/protocols.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds whose median counts")
    parser.add_argument("--skip-torchserve", action="store_true", help="measure torchkeeper alone")
    args = parser.parse_args()
    missing = environment.missing_programs(not args.skip_torchserve)
    if not shutil.which("h2load"):
        missing.append("h2load (apt-get install nghttp2-client)")
    if missing:
        print(f"bench: missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    cases = [case for case in CASES if case.kind is TORCHKEEPER or not args.skip_torchserve]
    figures: Figures = {}
    begin = time.monotonic()
    console = Console(width=160)
    try:
        if not args.skip_torchserve:
            environment.ensure(None)
        maker = TORCHKEEPER if args.skip_torchserve else TORCHSERVE
        for variant in {case.variant for case in cases}:
            build_archive(variant, maker.archiver, STORE)
        for number in range(args.rounds):
            for case in cases if number % 2 == 0 else cases[::-1]:
                measure(case, figures)
                names = ", ".join(protocol.name for protocol in case.protocols)
                console.print(f"round {number + 1} of {args.rounds}  {case.kind.name}: {names}")
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    date = datetime.date.today().isoformat()
    minutes = (time.monotonic() - begin) / 60
    text = "\n".join(
        (
            f"# The same digit over every protocol, {date}\n",
            f"`bench/protocols.py`, {args.rounds} rounds, {minutes:.0f} minutes. "
            "What is measured and how: docs/benchmarks.md.\n",
            "## Figures with a goal\n",
            tables.markdown(REACH_HEAD, reaches(figures)),
            "## All figures (medians)\n",
            tables.markdown(HEAD, rows(figures)),
            "## Machine and versions\n",
            tables.markdown(
                ("what", "value"), [*machine(), *versions({"torchkeeper": OURS, "TorchServe": THEIRS})]
            ),
        )
    )
    console.print(text)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{date}-protocols.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
