"""Nothing that a client sends or a handler does ends a worker: one process gets all of it, batch after batch.

Only `sys.exit` and its like end it, as under TorchServe; test_crashes.py of the server has those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.wire.frames import (
    MAX_HEADER,
    Batch,
    LoadFailed,
    Outcome,
    RequestHead,
    encode,
    encode_batch,
)
from torchkeeper.wire.messages import Failure, Input, Kind, Part, Reply
from workers import Worker

HANDLER = '''
import asyncio
import sys

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.metrics.dimension import Dimension
from ts.utils.util import PredictionException

DEEP = []
for _ in range(5000):
    DEEP = [DEEP]
LOOP = []
LOOP.append(LOOP)


class Rude(Exception):
    """Raises wherever it is looked at."""

    def __str__(self):
        raise KeyboardInterrupt("no text")

    __repr__ = __str__


class RudeList(list):
    def __iter__(self):
        raise OSError("no elements")

    __getitem__ = __len__ = __iter__


class Abrupt(BaseException):
    """No Exception at all."""


class Bare(PredictionException):
    """Does not call its base."""

    def __init__(self):
        pass


class LongBytes(bytes):
    def __len__(self):
        return 5

    def __bytes__(self):
        return b"no"


def fails(error):
    def fail(context):
        raise error

    return fail


def deep(context):
    return deep(context)


def memory(context):
    return bytearray(1 << 62)


def status(value, phrase=""):
    return lambda context: context.set_response_status(value, phrase, 0) or "body"


def header(name, value):
    return lambda context: context.set_response_header(0, name, value) or "body"


def content_type(value):
    return lambda context: context.set_response_content_type(0, value) or "body"


def gives(value):
    return lambda context: value


def measures(name, value, *dimensions):
    def measure(context):
        context.metrics.add_metric(name, value, "count", 0, list(dimensions))
        return "body"

    return measure


def without(attribute):
    def spoil(context):
        setattr(context, attribute, None)
        return "body"

    return spoil


def empties(context):
    context.request_processor.clear()
    return "body"


def part(value, code=200):
    def send(context):
        send_intermediate_predict_response([value, "part"], context.request_ids, "", code, context)
        return "last"

    return send


def prints(text):
    return lambda context: print(text) or "body"


class Whole(Exception):
    """What `handle` returns for the whole batch."""


def instead(value):
    def give(context):
        raise Whole(value)

    return give


def yields(*values):
    def make():
        for value in values:
            if isinstance(value, BaseException):
                raise value
            yield value

    return lambda context: instead(make())(context)


def stubborn():
    try:
        yield ["part"]
    finally:
        yield ["part", "part"]


CASES = {
    "fine": gives("body"),
    %s
}


def handle(data, context):
    if data is None:
        return None
    try:
        return [CASES[bytes(row["case"]).decode()](context) for row in data]
    except Whole as whole:
        return whole.args[0]
'''

#: Expression -> status, message, cause (patterns) of a batch's first request; the other one is answered.
ALONE: dict[str, tuple[int, str, str]] = {
    # values
    "gives({1, 2})": (503, "Unsupported model output data type.", "TypeError: .*set is not JSON"),
    "gives(object())": (503, "Unsupported model output data type.", "TypeError: .*not JSON"),
    "gives(Rude())": (503, "Unsupported model output data type.", "TypeError: .*Rude is not JSON"),
    "gives(DEEP)": (503, "Unsupported model output data type.", "RecursionError"),
    "gives(LOOP)": (503, "Unsupported model output data type.", "Circular reference"),
    "gives(10**5000)": (503, "Unsupported model output data type.", "4300 digits"),
    "gives('\\ud800')": (503, "Unsupported model output data type.", "surrogates not allowed"),
    "gives({(1, 2): 3})": (503, "Unsupported model output data type.", "keys must be"),
    "gives('x' * 20_000)": (500, "Worker died.", "max_response_size is 10000"),
    "gives(PredictionException('mine', 418))": (418, "mine", ""),
    "gives(PredictionException(Rude(), 418))": (418, r"<Rude, whose str\(\) raises KeyboardInterrupt>", ""),
    # statuses
    **{
        f"status({value})": (503, "Prediction failed", cause + r".* \(h\.py, line \d+\)$")
        for value, cause in {
            "'abc'": "the response status 'abc' is no number",
            "''": "the response status '' is no number",
            "'9' * 5000": "the response status '9+.* is no number",
            "404.5": "the response status 404.5 is no number",
            "float('nan')": "the response status nan is no number",
            "b'404'": "the response status b'404' is no number",
            "Rude()": r"the response status <Rude, whose repr\(\) raises \w+> is no number",
            "0": "the response status 0 is none of an answer: it must be 200 to 599",
            "True": "the response status True is none",
            "-1": "the response status -1 is none",
            "99": "the response status 99 is none",
            "101": "the response status 101 is none",
            "600": "the response status 600 is none",
            "999": "the response status 999 is none",
            "1000": "the response status 1000 is none",
            "10**100": r"the response status 10+(\.\.\.)? is none of an answer: it must be 200 to 599",
        }.items()
    },
    # headers
    **{
        f"header({pair})": (503, "Prediction failed", cause + r".* \(h\.py, line \d+\)$")
        for pair, cause in {
            "'a b', 'c'": "the response header 'a b' is no name of a header",
            "'', 'c'": "the response header '' is no name",
            "'a:', 'c'": "the response header 'a:' is no name",
            r"'a\n', 'c'": r"the response header 'a\\n' is no name",
            "'ä', 'c'": "the response header 'ä' is no name",
            "3, 'c'": "the response header 3 is no name",
            "None, 'c'": "the response header None is no name",
            "'a', None": "the response header a must be text, not None",
            "'a', b'c'": "the response header a must be text, not b'c'",
            "'a', Rude()": "the response header a must be text, not <Rude",
            r"'a', 'b\r\nc: d'": r"the response header a has a character that none may have: 'b\\r\\nc: d'",
            r"'a', '\x00'": "the response header a has a character",
            r"'a', '\ud800'": "the response header a has a character",
            "'a', 'c' * 70_000": "the response header a has more than 65536 characters",
        }.items()
    },
    r"content_type('text/html\n')": (503, "Prediction failed", "the response header content-type has a char"),
    "content_type(3.5j)": (
        503,
        "Prediction failed",
        r"the response header content-type must be text, not 3.5j",
    ),
}
#: The same of what fails both requests of a batch.
BATCH: dict[str, tuple[int, str, str]] = {
    # what a handler raises
    "fails(ValueError('words'))": (503, "Prediction failed", "^ValueError: words \\(h.py"),
    "fails(Rude())": (503, "Prediction failed", r"Rude: <Rude, whose str\(\) raises KeyboardInterrupt>"),
    "fails(ValueError('\\ud800'))": (503, "Prediction failed", r"^ValueError: \\ud800 \(h.py"),
    "fails(ValueError('CUDA error'))": (507, "Out of resources", "CUDA error"),
    "fails(ValueError('x' * 10**6))": (503, "Prediction failed", "^ValueError: x+"),
    "fails(Abrupt('words'))": (503, "Prediction failed", "Abrupt: words"),
    "fails(KeyboardInterrupt())": (503, "Prediction failed", "KeyboardInterrupt"),
    "fails(GeneratorExit())": (503, "Prediction failed", "GeneratorExit"),
    "fails(StopIteration())": (503, "Prediction failed", "StopIteration"),
    "fails(asyncio.CancelledError())": (503, "Prediction failed", "CancelledError"),
    "fails(ExceptionGroup('all', [ValueError('x')]))": (503, "Prediction failed", ""),
    "deep": (503, "Prediction failed", "RecursionError"),
    "memory": (507, "Out of resources", "MemoryError"),
    # statuses of PredictionException
    "fails(PredictionException('mine', 413))": (507, "mine", "mine : 413"),
    "fails(PredictionException('mine', '404'))": (404, "mine", "mine : 404"),
    "fails(PredictionException('mine', 204))": (204, "mine", "mine : 204"),
    "fails(PredictionException('mine', 200))": (500, "mine", "the response status 200 is none of a failure"),
    "fails(PredictionException('mine', 'abc'))": (500, "mine", "the response status 'abc' is no number"),
    "fails(PredictionException('mine', None))": (500, "mine", "the response status 200 is none of a failure"),
    "fails(PredictionException('mine', 99))": (500, "mine", "the response status 99 is none of an answer"),
    "fails(PredictionException('mine', 10**100))": (500, "mine", "is none of an answer"),
    "fails(PredictionException('\\ud800', 404))": (404, r"\\ud800", ""),
    "fails(PredictionException(['a'], 404))": (404, r"\['a'\]", ""),
    "fails(PredictionException(Rude(), 404))": (404, r"<Rude, whose str\(\) raises", ""),
    "fails(PredictionException('x' * 10**6, 404))": (404, r"x{65536}\.\.\.$", ""),
    "fails(Bare())": (500, "Prediction failed", ""),
    # what a handler returns
    "instead(None)": (503, "Invalid model predict output", "NoneType"),
    "instead({'a': 1})": (503, "Invalid model predict output", "dict"),
    "instead(Rude())": (503, "Invalid model predict output", "Rude"),
    "instead([1, 2, 3])": (503, "number of batch response mismatched", "3 results for 1 requests"),
    "instead(RudeList([1, 2]))": (503, "Prediction failed", "OSError: no elements"),
    "instead(asyncio.sleep(0))": (503, "Invalid model predict output", "coroutine"),
    # what it yields
    "yields('text')": (503, "Invalid model predict output", "yielded str"),
    "yields(['one', 'two', 'three'])": (503, "number of batch response mismatched", "yielded 3 results"),
    "yields(ValueError('words'))": (503, "Prediction failed", "words"),
    "yields(GeneratorExit())": (503, "Prediction failed", "GeneratorExit"),
    "yields(RudeList([1, 2]))": (503, "Prediction failed", "no elements"),
    "instead(stubborn())": (503, ".*", ".*"),
}
#: What both requests are answered: the first one's status and body.
FINE: dict[str, tuple[int, bytes]] = {
    "status(404)": (404, b"body"),
    "status('404')": (404, b"body"),
    "status(404.0)": (404, b"body"),
    "status(None)": (200, b"body"),
    "status(599)": (599, b"body"),
    "status(418, None)": (418, b"body"),
    "status(418, 7)": (418, b"body"),
    "status(418, Rude())": (418, b"body"),
    "status(418, 'a\\r\\nb: c')": (418, b"body"),
    "status(418, '\\ud800')": (418, b"body"),
    "header('a', 3)": (200, b"body"),
    "header('a', '')": (200, b"body"),
    "header('a', 'ä')": (200, b"body"),
    "content_type(None)": (200, b"body"),
    "content_type('')": (200, b"body"),
    "gives(float('nan'))": (200, b"NaN"),
    "gives(None)": (200, b"null"),
    "gives(['\\ud800'])": (200, b'[\n  "\\ud800"\n]'),
    "gives(LongBytes(b'four'))": (200, b"four"),
    "measures('a', float('nan'))": (200, b"body"),
    "measures('a', 'text')": (200, b"body"),
    "measures('a', 10**400)": (200, b"body"),
    "measures('\\ud800', 1)": (200, b"body"),
    "measures('b', 1, Dimension(3, 4))": (200, b"body"),
    "measures('a', 1, Dimension('b', '\\ud800'))": (200, b"body"),
    "measures('a', 1, Dimension('b', 'c' * 10**6))": (200, b"body"),
    "without('request_processor')": (200, b"body"),
    "without('request_ids')": (200, b"body"),
    "without('line')": (200, b"body"),
    "prints('\\ud800')": (200, b"body"),
    "prints('\\x00\\x1b[31m')": (200, b"body"),
}
CASES = [*ALONE, *BATCH, *FINE]


def asked(case: str, number: int = 0, **parts: Any) -> Input:
    fields = {"case": case.encode(), **parts}
    found = [
        Part(name, *value) if isinstance(value, tuple) else Part(name, value)
        for name, value in fields.items()
    ]
    return Input(f"id-{number}", Kind.PREDICT, tuple(found), {})


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all cases: whoever kills it fails, and so do all after it."""
    more = ['"empties": empties', '"spoilt metrics": without("metrics")', '"part": part("first")']
    more += [f'"part {value}": part({value})' for value in PARTS]
    table = ",\n    ".join([*(f"{case!r}: {case}" for case in CASES), *more])
    worker = Worker(tmp_path_factory.mktemp("living"), HANDLER % table)
    yield worker
    try:
        assert worker.stop() == 0
    finally:
        worker.close()


def assert_failed(outcome: Outcome, expected: tuple[int, str, str]) -> None:
    status, message, cause = expected
    assert isinstance(outcome, Failure)
    assert outcome.status == status
    assert re.match(message, outcome.message), outcome
    assert re.search(cause, outcome.cause or ""), outcome


@pytest.mark.parametrize("case", ALONE)
def test_what_cannot_be_sent_fails_alone(worker: Worker, case: str) -> None:
    first, second = worker.ask([asked(case), asked("fine", 1)])
    assert_failed(first, ALONE[case])
    assert isinstance(second, Reply)
    assert (second.status, second.body) == (200, b"body")
    last, again = worker.ask([asked("fine"), asked("fine", 1)])
    assert last == again == second


@pytest.mark.parametrize("case", BATCH)
def test_what_fails_a_batch_fails_alone_and_leaves_the_worker(worker: Worker, case: str) -> None:
    first, second = worker.ask([asked(case), asked("fine", 1)])
    assert_failed(first, BATCH[case])
    assert isinstance(second, Reply)
    assert (second.status, second.body) == (200, b"body")


def test_a_handler_that_spoils_what_all_requests_need_fails_all(worker: Worker) -> None:
    for outcome in worker.ask([asked("empties"), asked("fine", 1)]):
        assert_failed(outcome, (503, "Prediction failed", "IndexError"))
    assert isinstance(worker.ask([asked("fine")])[0], Reply)


@pytest.mark.parametrize("case", FINE)
def test_what_looks_odd_is_answered(worker: Worker, case: str) -> None:
    first, second = worker.ask([asked(case), asked("fine", 1)])
    assert isinstance(first, Reply)
    assert (first.status, first.body) == FINE[case]
    assert "\n" not in first.phrase
    assert isinstance(second, Reply)


def test_the_log_names_request_reason_and_place(worker: Worker) -> None:
    worker.ask([asked("status('abc')"), asked("fine", 1)])
    line = r"^request id-0: the response status 'abc' is no number \(h\.py, line \d+\)$"
    assert re.search(line, worker.log.read_text(), re.M)


PARTS = {
    "{1}": "Unsupported model output data type.",
    "DEEP": "Unsupported model output data type.",
    "'x', 'abc'": "Prediction failed",
    "'x' * 20_000": "Worker died.",
}


@pytest.mark.parametrize("value", PARTS)
def test_a_part_that_cannot_be_sent_fails_alone(worker: Worker, value: str) -> None:
    both = "abc" in value  # TorchServe's function takes one status for all
    worker.send(encode_batch(1, [asked(f"part {value}"), asked("fine", 1)]))
    (first, second), _, parts = worker.answer()
    assert isinstance(first, Failure)
    assert first.message == PARTS[value]
    assert isinstance(second, Failure if both else Reply)
    bodies = [[isinstance(part, Reply) and part.body for part in frame] for frame in parts]
    assert bodies == ([] if both else [[False, b"part"]])


DEEP_JSON = b"[" * 2000 + b"]" * 2000


@pytest.mark.parametrize(
    "value",
    [DEEP_JSON, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"1" * 5000, b"\xff", b"", b'"\\ud800"'],
    ids=["arrays", "objects", "digits", "no UTF-8", "nothing", "surrogate"],
)
def test_whatever_is_sent_as_json_reaches_the_handler(worker: Worker, value: bytes) -> None:
    for outcome in worker.ask([asked("fine", data=(value, "application/json")), asked("fine", 1)]):
        assert isinstance(outcome, Reply)


def test_a_batch_that_is_not_what_it_says_is_answered(worker: Worker) -> None:
    heads = (RequestHead("id", {}, (("case", None, 4, False),)),) * 2
    worker.send(encode(Batch(1, Kind.PREDICT, heads), [b"fine"]))
    outcomes, _, _ = worker.answer()
    for outcome in outcomes:
        assert_failed(outcome, (503, "Prediction failed", "WireError"))


def test_numbers_that_cannot_be_sent_are_dropped_and_the_others_come(worker: Worker) -> None:
    worker.send(
        encode_batch(1, [asked("measures('\\ud800', 1)"), asked("measures('b', 1, Dimension(3, 4))")])
    )
    _, samples, _ = worker.answer()
    assert [sample.name for sample in samples] == ["PredictionTime"]
    assert "2 of 3 recorded numbers cannot be sent" in worker.log.read_text()


def test_names_that_are_longer_than_an_answers_heads_may_be_reach_the_handler(worker: Worker) -> None:
    first, second = worker.ask([asked("fine", **{"n" * (MAX_HEADER + 1): b""}), asked("fine", 1)])
    assert isinstance(first, Reply)
    assert first == second


@pytest.mark.parametrize("goes_on", ["return data and ['child']", "raise ValueError('child')"])
def test_a_forked_process_that_comes_back_from_the_handler_answers_nobody(
    tmp_path: Path, goes_on: str
) -> None:
    source = f"""
import os
def handle(data, context):
    if data and bytes(data[0]["body"]) == b"fork":
        child = os.fork()
        if not child:
            {goes_on}
        os.waitpid(child, 0)
    return data and ["parent"]
"""
    worker = Worker(tmp_path, source)
    try:
        for body in (b"fork", b"on", b"fork", b"on"):
            (outcome,) = worker.ask([Input("id", Kind.PREDICT, (Part("body", body),), {})])
            assert isinstance(outcome, Reply)
            assert outcome.body == b"parent"
        assert worker.stop() == 0
    finally:
        worker.close()


def test_heads_too_large_for_a_frame_fail_their_batch(tmp_path: Path) -> None:
    source = """
def handle(data, context):
    for number in range(len(data or ()) * 1100):
        context.set_response_header(0, f"header-{number}", "x" * 65_000)
    return data and ["body"]
"""
    worker = Worker(tmp_path, source)
    try:
        (outcome,) = worker.ask([asked("any")])
        assert_failed(outcome, (503, "Prediction failed", "WireError: the heads of a batch's answers have"))
        assert worker.stop() == 0
    finally:
        worker.close()


@pytest.mark.parametrize("spoil", ["metrics = None", "line = None", "request_processor = None"])
def test_a_spoilt_context_costs_no_worker(tmp_path: Path, spoil: str) -> None:
    source = f"""
def handle(data, context):
    if data:
        context.{spoil}
    return data and ["body"] * len(data)
"""
    worker = Worker(tmp_path, source)
    try:
        for _ in range(3):
            (outcome,) = worker.ask([asked("any")])
            assert isinstance(outcome, Reply | Failure)
        assert worker.stop() == 0
    finally:
        worker.close()


@pytest.mark.parametrize("envelope", ["json", "body", "kserve", "kservev2"])
@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_deep_json_fails_or_passes_alone_in_every_envelope(
    tmp_path: Path, envelope: str, content_type: str | None
) -> None:
    worker = Worker(
        tmp_path, "def handle(data, context):\n    return data and ['x'] * len(data)\n", envelope=envelope
    )
    tensor = b'{"name": "a", "shape": [1], "datatype": "INT64", "data": [1]}'
    good = b'{"instances": [1], "inputs": [%b]}' % tensor
    deep = [
        DEEP_JSON,
        b'{"instances": [' + DEEP_JSON + b"]}",
        *(
            b'{"inputs": [%b]}' % tensor.replace(old, depth)
            for depth in (DEEP_JSON, b"[" * 900 + b"]" * 900)
            for old in (b'"a"', b"[1]", b'"INT64"', tensor)
        ),
    ]
    try:
        for body in deep:
            parts = [(Part("body", text, content_type),) for text in (good, body, good)]
            inputs = [Input(f"id-{at}", Kind.PREDICT, part, {}) for at, part in enumerate(parts)]
            first, _, last = worker.ask(inputs)
            assert isinstance(first, Reply), body[:100]
            assert isinstance(last, Reply)
        assert worker.stop() == 0
    finally:
        worker.close()


def test_a_load_failure_is_told_whatever_its_words_are(tmp_path: Path) -> None:
    worker = Worker(tmp_path, "raise ValueError('\\ud800')\n")
    assert isinstance(worker.loaded, LoadFailed)
    assert worker.loaded.cause == "ValueError: \\ud800"
    assert worker.loaded.traceback.endswith("ValueError: \\ud800\n")
    worker.close()
