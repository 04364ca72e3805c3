"""Envelopes around a handler function, called as the server calls them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from torchkeeper.handler.context import RequestProcessor
from torchkeeper.handler.envelope import ENVELOPES, BaseEnvelope
from torchkeeper.testing import MockContext


def answer(name: str, rows: Any, handler: Any = lambda data, context: data, **headers: str) -> Any:
    context = MockContext(model_pt_file=None)
    context.request_processor = [RequestProcessor(headers)]
    return ENVELOPES[name](handler).handle(rows, context)


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


@pytest.mark.parametrize(
    ("row", "text"), [({"body": b"{"}, "request 0 of the batch is no JSON"), ({"body": {}}, '"instances"')]
)
def test_json_names_a_wrong_body(row: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        answer("json", [row])


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
