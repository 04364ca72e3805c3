"""KServe's own model server and ours, asked the same: status, content type and the form of the JSON.

Every difference stands in DIFFERENCES with its reason. One that is not there fails, and so does one that is
there and no longer exists.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from asked import HERE, IDLE, PATIENCE, digits  # type: ignore[import-not-found]  # pytest puts this folder on the path
from cases import CASES, LENGTH, Case  # type: ignore[import-not-found]  # likewise

from servers import Server
from tools import tool

pytestmark = pytest.mark.slow

Reasons = dict[str, str]


def status(theirs: int, mine: int, reason: str) -> Reasons:
    return {f"status: KServe {theirs}, here {mine}": reason}


_FORM = "errors of KServe's web framework have its own form; clients of both protocols read `error`"
_NULL = "KServe writes members that have no value as null; the protocol leaves them out"
_RAW = "KServe's server leaves the type out; the extension names application/octet-stream"
DETAIL = {"$.detail: only KServe": _FORM, "$.error: only here": _FORM}
NOT_422 = DETAIL | status(422, 400, "a framework's status; the protocol's for a request that is wrong is 400")
NULLS = {"$.parameters: only KServe": _NULL, "$.outputs[].parameters: only KServe": _NULL}
RAW = {"content type: KServe , here application/octet-stream": _RAW}
FOR_ALL = status(501, 200, "KServe's server knows no versions")
_TYPE = (
    "for KServe's server JSON is only what has exactly that type; `curl -d` and Java's clients send others"
)
TYPES = status(400, 200, _TYPE)
CLIENTS_FAULT = "the request is wrong, and KServe's server lets NumPy find it"

DIFFERENCES: dict[str, Reasons] = {
    "metrics": status(200, 404, "metrics have an address of their own, as in TorchServe")
    | {"content type: KServe text/plain, here application/json": "an error's"},
    "v2 server": {"$.extenstion: only here": "TorchServe's misspelt key, for clients written for it"},
    "v2 server with a slash": status(307, 200, "a redirection is one more thing for a client to follow")
    | {
        "content type: KServe , here application/json": "a redirection has no body",
        '$: KServe "null", here {"name": "string", "version": "string", "extensions": ["string"], '
        '"extenstion": ["string"]}': "a redirection has no body",
    },
    "v2 model": {'$.versions: KServe "null", here ["string"]': "KServe's server knows no versions"},
    "v2 model, version": FOR_ALL,
    "v2 model ready, version": FOR_ALL,
    "v2 model ready, unknown version": status(501, 404, "KServe's server knows no versions"),
    "v1 predict by curl -d": TYPES,
    "v1 predict, charset": TYPES,
    "v1 unknown verb": DETAIL,
    "v1 predict by GET": status(404, 405, "KServe's server takes `mnist:predict` for a model's name"),
    "v1 list by POST": DETAIL,
    "v1 model by DELETE": DETAIL,
    "v2 flat": NULLS,
    "v2 nested": NULLS,
    "v2 FP64": NULLS,
    "v2 two": NULLS,
    "v2 picture": NULLS,
    "v2 without an id": status(500, 200, "the id is optional; KServe's server needs one to answer"),
    "v2 output by name": NULLS,
    "v2 raw": NULLS,
    "v2 raw picture": status(500, 200, "KServe's server decodes raw BYTES as UTF-8, and a PNG is none"),
    "v2 raw both ways": RAW,
    "v2 raw out by name": RAW,
    "v2 JSON in, raw out": RAW,
    "v2 of a version": FOR_ALL,
    "v2 of an unknown version": status(501, 404, "KServe's server knows no versions"),
    "v2 gzip": status(400, 200, "KServe's server unpacks nothing; Triton's client can send it"),
    "v2 no content type": status(400, 200, "the length says what is raw; Triton's client sends no type"),
    "v2 explain": status(404, 200, "TorchServe's own"),
    "v2 no JSON": NOT_422,
    "v2 nothing": NOT_422,
    "v2 no object": NOT_422,
    "v2 without inputs": NOT_422,
    "v2 inputs no list": NOT_422,
    "v2 no inputs": status(200, 400, "a request without inputs is a client's mistake"),
    "v2 input no object": NOT_422,
    "v2 without a name": NOT_422,
    "v2 without data": NOT_422,
    "v2 wrong shape": status(500, 400, CLIENTS_FAULT),
    "v2 negative shape": NULLS,
    "v2 wrong data": status(500, 400, CLIENTS_FAULT),
    "v2 id a number": status(422, 200, "TorchServe takes numbers for ids too"),
    "v2 raw, too short": status(500, 400, CLIENTS_FAULT),
    "v2 raw, too long": status(200, 400, "bytes that belong to no tensor are a client's mistake"),
    "v2 raw, length no number": status(500, 400, CLIENTS_FAULT),
    "v2 infer by GET": DETAIL,
    "v2 live by POST": DETAIL,
    "v2 unknown path": DETAIL,
    "index": status(404, 200, "Triton's extension, whose index KServe's server does not serve"),
    "load, unknown": status(503, 404, "KServe's server loads nothing and finds it not ready; nobody has it"),
}


@dataclass(frozen=True)
class Answer:
    """What is compared of an answer."""

    status: int
    content_type: str
    #: The JSON, of an answer with raw tensors that before them; None: there is none.
    document: Any
    #: Bytes after the JSON.
    raw: int

    def digits(self) -> tuple[int, ...]:
        """The digits of a good answer in JSON."""
        if "predictions" in self.document:
            return tuple(self.document["predictions"])
        return tuple(digit for output in self.document["outputs"] for digit in output["data"])


@pytest.fixture(scope="module")
def kserve() -> Iterator[httpx.Client]:
    """KServe's server as a process of its own."""
    command = [tool("kserve") / "python", HERE / "oracle.py", "mnist,mnist_explain", IDLE]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while (found := re.search(r"running on http://0\.0\.0\.0:(\d+)", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        # A pipe that nobody empties would hold the server up.
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        url = f"http://127.0.0.1:{found[1]}"
        # It leaves after each 500, perhaps only when the next request is on its way.
        alone = httpx.Limits(max_keepalive_connections=0)
        try:
            with httpx.Client(base_url=url, timeout=PATIENCE, limits=alone) as client:
                yield client
        finally:
            process.terminate()
            reader.join(PATIENCE)


@pytest.fixture(scope="module")
def answers(
    kserve: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Answer, Answer]]]:
    """Of each case KServe's answer and ours."""
    with digits(tmp_path_factory.mktemp("mnist")) as server:
        yield {name: (answer(kserve, case), answer(ours(server, case), case)) for name, case in CASES.items()}


def ours(server: Server, case: Case) -> httpx.Client:
    return server.manage if case.manage else server.client


def answer(client: httpx.Client, case: Case) -> Answer:
    got = client.request(case.method, case.path, content=case.body, headers=case.headers)
    size = int(got.headers.get(LENGTH, len(got.content)))
    try:
        document = json.loads(got.content[:size])
    except ValueError:
        document = None
    content_type = got.headers.get("content-type", "").partition(";")[0]
    return Answer(got.status_code, content_type, document, len(got.content) - size)


def kind(value: Any) -> Any:
    """A JSON value's form: the keys and types in it; elements of an array that look alike count once."""
    if isinstance(value, dict):
        return {name: kind(found) for name, found in value.items()}
    if isinstance(value, list):
        kinds: list[Any] = []
        for element in map(kind, value):
            if element not in kinds:
                kinds.append(element)
        return kinds
    names = {str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def differences(theirs: Answer, mine: Answer) -> set[str]:
    """What differs, each in one line; the documents of a success and of a refusal are not compared."""
    found = {
        f"{what}: KServe {one}, here {other}"
        for what, one, other in (
            ("status", theirs.status, mine.status),
            ("content type", theirs.content_type, mine.content_type),
            ("raw bytes", theirs.raw, mine.raw),
        )
        if one != other
    }
    if (theirs.status < 400) != (mine.status < 400):
        return found
    return found | set(unlike(kind(theirs.document), kind(mine.document), "$"))


def unlike(theirs: Any, mine: Any, path: str) -> Iterator[str]:
    """Where two forms differ."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in sorted(theirs.keys() | mine.keys()):
            if name in theirs and name in mine:
                yield from unlike(theirs[name], mine[name], f"{path}.{name}")
            elif name in theirs:
                yield f"{path}.{name}: only KServe"
            else:
                yield f"{path}.{name}: only here"
    elif isinstance(theirs, list) and isinstance(mine, list) and len(theirs) == len(mine):
        for one, other in zip(theirs, mine, strict=True):
            yield from unlike(one, other, f"{path}[]")
    elif theirs != mine:
        yield f"{path}: KServe {json.dumps(theirs)}, here {json.dumps(mine)}"


@pytest.mark.parametrize("name", CASES)
def test_the_same_or_explained(answers: dict[str, tuple[Answer, Answer]], name: str) -> None:
    theirs, mine = answers[name]
    assert differences(theirs, mine) == set(DIFFERENCES.get(name, {})), mine.document


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.digits is not None])
def test_the_same_digits(answers: dict[str, tuple[Answer, Answer]], name: str) -> None:
    theirs, mine = answers[name]
    assert mine.digits() == CASES[name].digits
    if theirs.status == 200:
        assert theirs.digits() == CASES[name].digits


def test_every_explanation_is_of_a_request() -> None:
    assert set(DIFFERENCES) <= set(CASES)
    assert all(reason for reasons in DIFFERENCES.values() for reason in reasons.values())
