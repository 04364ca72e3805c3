"""Envelopes with several instances per request: whose row is whose, and handlers that answer in parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from torchkeeper.handler.outcome import NO_LIST, WRONG_LENGTH
from torchkeeper.wire.messages import Failure, Input, Kind, ModelSpec, Part, Reply
from torchkeeper.worker.loader import load
from torchkeeper.worker.service import Service


class Leavers:
    """Clients of whom some left; nobody may be sent a part."""

    def __init__(self, *gone: int) -> None:
        self._gone = gone

    def send(self, parts: Any) -> None:
        raise AssertionError("a part was sent")

    def gone(self) -> tuple[int, ...]:
        return self._gone


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> Service:
    monkeypatch.chdir(folder)
    (folder / "h.py").write_text(source)
    return load(ModelSpec("net", "1.0", str(folder), {"model": {}}, "h.py:handle", None, None, 8, None), 1000)


def asked(number: int, *instances: Any, kind: Kind = Kind.PREDICT, body: bytes | None = None) -> Input:
    text = json.dumps({"instances": instances}).encode() if body is None else body
    return Input(f"id-{number}", kind, (Part("body", text),), {"number": str(number)}, "kserve")


WHOSE = """
def handle(data, context):
    return data and [
        [row, context.get_request_header(i, "number"), context.get_request_id(i)]
        for i, row in enumerate(data)
    ]
"""


def test_rows_know_their_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = loaded(tmp_path, monkeypatch, WHOSE)
    replies = service.predict([asked(0, "a", "b"), asked(1, body=b"no"), asked(2), asked(3, "c")], Leavers())
    first, second, third, fourth = replies
    assert isinstance(first, Reply)
    assert isinstance(third, Reply)
    assert isinstance(fourth, Reply)
    assert json.loads(first.body) == {"predictions": [["a", "0", "id-0"], ["b", "0", "id-0"]]}
    assert first.content_type == "application/json"
    assert isinstance(second, Failure)
    assert (second.status, second.cause) == (400, None)
    assert third.body == b'{"predictions":[]}'
    assert json.loads(fourth.body) == {"predictions": [["c", "3", "id-3"]]}


def test_explanations_are_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = loaded(tmp_path, monkeypatch, "def handle(data, context):\n    return data\n")
    (reply,) = service.predict([asked(0, 1, kind=Kind.EXPLAIN)], Leavers())
    assert isinstance(reply, Reply)
    assert reply.body == b'{"explanations":[1]}'


@pytest.mark.parametrize(
    ("returned", "message", "cause"),
    [
        ("None", NO_LIST, "the handler returned NoneType, not a list"),
        ("[1]", WRONG_LENGTH, "the handler returned 1 results for 2 instances"),
    ],
)
def test_a_wrong_number_of_results_fails_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: str, message: str, cause: str
) -> None:
    service = loaded(tmp_path, monkeypatch, f"def handle(data, context):\n    return data and {returned}\n")
    found = service.predict([asked(0, 1, 2), asked(1, 3, 4)], Leavers())
    assert found == [Failure(500, message, cause)] * 2


PARTS = """
from ts.handler_utils.utils import send_intermediate_predict_response
def handle(data, context):
    if data is None:
        return None
    send_intermediate_predict_response([row + "1" for row in data], context.request_ids, "", 200, context)
    return [row + "2" for row in data]
"""
YIELDS = """
def handle(data, context):
    return None if data is None else parts(data)
def parts(data):
    yield [row + "1" for row in data]
    yield [row + "2" for row in data]
"""


@pytest.mark.parametrize("source", [PARTS, YIELDS])
def test_parts_become_whole_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    service = loaded(tmp_path, monkeypatch, source)
    first, second = service.predict([asked(0, "a", "b"), asked(1, "c")], Leavers())
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert json.loads(first.body) == {"predictions": ["a1a2", "b1b2"]}
    assert json.loads(second.body) == {"predictions": ["c1c2"]}


def test_a_client_cannot_say_that_it_asks_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = loaded(tmp_path, monkeypatch, "def handle(data, context):\n    return data\n")
    liar = asked(0, "a")
    liar.headers.update({"Describe": "True", "EXPLAIN": "True"})
    first, second = service.predict([liar, asked(1, "b", "c")], Leavers())
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert (first.body, second.body) == (b'{"predictions":["a"]}', b'{"predictions":["b","c"]}')


UNREADABLE = """
from torchkeeper.handler.errors import UnreadableRow
seen = []
def handle(data, context):
    if data is None:
        return None
    seen.append(list(data))
    for place, row in enumerate(data):
        if row == "bad":
            raise UnreadableRow(place, "no such thing")
        if row == "lost":
            raise UnreadableRow(99, "nowhere")
    return [f"{row} of {context.get_request_id(place)}" for place, row in enumerate(data)]
"""


def test_a_request_with_an_unreadable_row_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = loaded(tmp_path, monkeypatch, UNREADABLE)
    requests = [asked(0, "a", "b"), asked(1, "c", "bad"), asked(2, "d"), asked(3, "bad"), asked(4, "e")]
    first, second, third, fourth, fifth = service.predict(requests, Leavers(1, 4))
    assert second == fourth == Failure(400, "no such thing")
    answers = []
    for reply in (first, third, fifth):
        assert isinstance(reply, Reply)
        answers.append(json.loads(reply.body)["predictions"])
    assert answers == [["a of id-0", "b of id-0"], ["d of id-2"], ["e of id-4"]]
    (lost,) = service.predict([asked(0, "lost")], Leavers())
    assert isinstance(lost, Failure)
    assert lost.status == 500


def test_who_left_is_still_known_without_the_unreadable_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = UNREADABLE.replace("{context.get_request_id(place)}", "{context.is_cancelled(place)}")
    service = loaded(tmp_path, monkeypatch, source)
    first, _, third = service.predict([asked(0, "a"), asked(1, "bad"), asked(2, "b")], Leavers(2))
    assert isinstance(first, Reply)
    assert isinstance(third, Reply)
    assert (first.body, third.body) == (
        b'{"predictions":["a of False"]}',
        b'{"predictions":["b of True"]}',
    )


ODD = """
import torch
def handle(data, context):
    return data and [torch.ones(2).to_sparse() if row == "odd" else row for row in data]
"""


def test_a_result_without_a_form_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = loaded(tmp_path, monkeypatch, ODD)
    odd, plain = service.predict([asked(0, "odd"), asked(1, "plain")], Leavers())
    assert isinstance(odd, Failure)
    assert (odd.status, odd.message[:50]) == (500, "the handler's result has no form in this protocol:")
    assert isinstance(plain, Reply)
    assert plain.body == b'{"predictions":["plain"]}'


GONE = """
def handle(data, context):
    return data and [[context.is_cancelled(i), context.cancelled] for i in range(len(data))]
"""


def test_a_handler_sees_which_instances_nobody_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = loaded(tmp_path, monkeypatch, GONE)
    first, second = service.predict([asked(0, 1), asked(1, 2, 3)], Leavers(1))
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert json.loads(first.body) == {"predictions": [[False, False]]}
    assert json.loads(second.body) == {"predictions": [[True, False]] * 2}


REFUSES = """
from torchkeeper.handler.errors import PredictionException

def handle(data, context):
    return data and [PredictionException("not this one", 409) if row == "bad" else row for row in data]
"""


@pytest.mark.parametrize("envelope", ["json", "kserve"])
def test_an_instance_that_is_refused_is_its_requests_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, envelope: str
) -> None:
    service = loaded(tmp_path, monkeypatch, REFUSES)
    batch = [msgspec.structs.replace(one, envelope=envelope) for one in (asked(0, "a", "bad"), asked(1, "c"))]
    refused, answered = service.predict(batch, Leavers())
    assert isinstance(refused, Failure)
    assert (refused.status, refused.message) == (409, "not this one")
    assert isinstance(answered, Reply)
    assert json.loads(answered.body) == {"predictions": ["c"]}


APART = """
from torchkeeper.handler.errors import RowsApart

def handle(data, context):
    groups = {}
    for place, row in enumerate(data or ()):
        groups.setdefault(row[0], []).append(place)
    if len(groups) > 1:
        raise RowsApart(list(groups.values()))
    if data and "bad" in [row[1:] for row in data]:
        raise ValueError("bad")
    return data
"""


@pytest.mark.parametrize(
    "asked_for",
    [
        [["a1"], ["abad"], ["b2"], ["a3"]],
        [["a1"], ["abad"], ["bbad"], ["b3"], ["a4"]],
        [["a1", "b1"], ["abad", "b2"], ["b3", "a3"]],
        [["abad", "bbad", "c1"], ["c2", "a2"], ["b4"]],
        [["abad"], ["b1"]],
    ],
)
def test_who_shares_a_group_with_the_guilty_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: list[list[str]]
) -> None:
    service = loaded(tmp_path, monkeypatch, APART)
    outcomes = service.predict([asked(number, *rows) for number, rows in enumerate(asked_for)], Leavers())
    for rows, outcome in zip(asked_for, outcomes, strict=True):
        if any(row.endswith("bad") for row in rows):
            assert isinstance(outcome, Failure)
            assert str(outcome.cause).startswith("ValueError: bad (h.py, line ")
        else:
            assert isinstance(outcome, Reply)
            assert json.loads(outcome.body) == {"predictions": rows}
