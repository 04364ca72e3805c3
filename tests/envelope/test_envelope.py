"""Envelopes around a handler function, called as the server calls them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from torchkeeper.envelope.envelope import ENVELOPES, BaseEnvelope, envelope_class
from torchkeeper.handler.context import RequestProcessor
from torchkeeper.handler.errors import PredictionException
from torchkeeper.testing import MockContext


def answer(name: str, rows: Any, handler: Any = lambda data, context: data, **headers: str) -> Any:
    context = MockContext(model_pt_file=None)
    context.request_processor = [RequestProcessor(headers) for _ in rows or ()]
    context.request_ids = {place: f"id-{place}" for place in range(len(rows or ()))}
    return envelope_class(name)(handler).handle(rows, context)


def test_body_takes_the_data_out() -> None:
    rows = [{"data": b"d"}, {"body": b"b"}, {"body": {"data": "x", "target": 1}}, {"other": 1}]
    assert answer("body", rows) == [b"d", b"b", {"data": "x", "target": 1}, None]


def test_json_joins_the_instances_and_cuts_the_results_back() -> None:
    rows: list[Any] = [
        {"body": {"instances": [1, {"b64": "aGk="}]}},
        {"data": b'{"instances": []}'},
        {"instances": [{"data": {"b64": "aG8="}, "target": 2}]},
    ]
    seen = []

    def handler(data: Any, context: Any) -> Any:
        seen.extend(data)
        return [str(place) for place in range(len(data))]

    answers = [json.loads(text) for text in answer("json", rows, handler)]
    assert seen == [1, b"hi", {"data": b"ho", "target": 2}]
    assert answers == [{"predictions": ["0", "1"]}, {"predictions": []}, {"predictions": ["2"]}]


@pytest.mark.parametrize("name", ["json", "kserve"])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "the body is no JSON: Expecting property name"),
        (b"\xff", "the body is no JSON: 'utf-8' codec"),
        ([1], "the body must be a JSON object, not an array"),
        ({}, 'must be {"instances": [...]} with a list of instances, and has none'),
        ({"instances": {"a": 1}}, "and has an object there"),
    ],
)
def test_a_wrong_body_is_its_own_requests_failure(name: str, content: Any, text: str) -> None:
    rows = [{"body": content}, {"body": {"instances": [1]}}]
    wrong, right = answer(name, rows)
    assert isinstance(wrong, PredictionException)
    assert wrong.error_code == 400
    assert text in wrong.message
    assert json.loads(right) == {"predictions": [1]}


@pytest.mark.parametrize("b64", [5, None, "x", ["aGk="]])
def test_a_wrong_b64_is_its_own_requests_failure(b64: Any) -> None:
    wrong, right = answer("json", [{"body": {"instances": [{"b64": b64}]}}, {"body": {"instances": [1]}}])
    assert isinstance(wrong, PredictionException)
    assert wrong.error_code == 400
    assert json.loads(right) == {"predictions": [1]}


@pytest.mark.parametrize("name", ENVELOPES)
def test_no_rows_and_no_results_pass(name: str) -> None:
    assert answer(name, None, lambda data, context: None) is None


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_describe_request_has_no_envelope(name: str) -> None:
    assert answer(name, [{}], lambda data, context: [data, {"kind": "net"}], describe="True") == [
        [{}],
        {"kind": "net"},
    ]


def test_an_envelope_of_ones_own() -> None:
    class Upper(BaseEnvelope):
        def parse_input(self, data: Any) -> Any:
            return [row["body"].upper() for row in data]

        def format_output(self, data: Any) -> Any:
            return [f"<{one}>" for one in data]

    assert Upper(lambda data, context: data).handle([{"body": "hi"}], MockContext()) == ["<HI>"]
