"""Context and RequestProcessor: what is told, what is kept, and that header names may come in any case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.handler.context import Context, Headers, RequestProcessor


def make(**more: Any) -> Context:
    context = Context("m", "/models/m", {"model": {}}, 4, 1, "0.12.0", **more)
    context.request_processor = [RequestProcessor({"Content-Type": "image/png"}), RequestProcessor({})]
    context.request_ids = {0: "first", 1: "second"}
    return context


def test_system_properties() -> None:
    assert make(limit_max_image_pixels=False).system_properties == {
        "model_dir": "/models/m",
        "gpu_id": 1,
        "batch_size": 4,
        "server_name": "MMS",
        "server_version": "0.12.0",
        "limit_max_image_pixels": False,
    }


def test_names_that_torchserve_keeps_to_itself() -> None:
    context = make(metrics="recorder")
    assert context._metrics == "recorder"
    assert context._request_processor[0].get_request_property("content-type") == "image/png"
    context._request_processor = [RequestProcessor({"X-Own": "1"})]
    assert context.get_request_header(0, "x-own") == "1"


def test_without_a_batch() -> None:
    context = Context("m", "/", {}, 1, None, "0.12.0")
    assert context.get_request_id() is None
    assert context.model_yaml_config == {}
    context.set_response_status(400, "no")
    context.set_all_response_status(400, "no")
    with pytest.raises(RuntimeError, match="no batch yet"):
        context.get_request_header(0, "x")


def test_request_ids_and_headers() -> None:
    context = make()
    assert [context.get_request_id(), context.get_request_id(1), context.get_request_id(2)] == [
        "first",
        "second",
        None,
    ]
    assert context.get_request_header(0, "content-type") == "image/png"
    assert context.get_request_header(0, "missing") is None
    assert context.get_all_request_header(0) == {"Content-Type": "image/png"}
    assert context.get_all_request_header(0)["CONTENT-TYPE"] == "image/png"
    assert context.get_all_request_header(1) == {}


def test_answers_keep_apart() -> None:
    context = make()
    context.set_response_status(418, "I'm a teapot", 1)
    context.set_response_header(1, "X-Kind", "tea")
    context.set_response_content_type(1, "text/tea")
    assert context.get_response_status(0) == (200, None)
    assert context.get_response_status(1) == (418, "I'm a teapot")
    assert context.get_response_headers(0) == {}
    assert context.get_response_headers(1) == {"X-Kind": "tea", "content-type": "text/tea"}
    assert context.get_response_content_type(0) is None
    assert context.get_response_content_type(1) == "text/tea"
    context.set_all_response_status(202, "later")
    assert [context.get_response_status(place) for place in (0, 1)] == [(202, "later")] * 2


def test_sequence_headers_take_their_names_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TS_REQUEST_SEQUENCE_ID", "x-sequence")
    context = make()
    context.request_processor = [RequestProcessor({"X-Sequence": "s1"})]
    assert context.get_sequence_id(0) == "s1"
    assert context.header_key_sequence_start == "ts_request_sequence_start"


def test_contexts_are_equal_by_content() -> None:
    one, other = (Context("m", "/", {}, 1, None, "0.12.0") for _ in range(2))
    assert one == other
    other.model_name = "n"
    assert one != other
    assert one != "m"


def test_an_exact_spelling_wins() -> None:
    headers = Headers({"Data": 1, "data": 2})
    assert (headers["Data"], headers["data"], headers["DATA"]) == (1, 2, 1)


def test_no_text_is_no_header() -> None:
    assert cast(Any, 3) not in Headers({"3": "x"})


@given(st.dictionaries(st.text("abcABC-", min_size=1), st.integers()), st.text("abcABC-"))
def test_headers_are_found_in_any_case(given: dict[str, int], key: str) -> None:
    headers = Headers(given)
    fitting: list[Any] = [value for name, value in given.items() if name.lower() == key.lower()]
    assert (key in headers) == bool(fitting)
    assert headers.get(key, "none") in (fitting or ["none"])
    assert dict(headers) == given


@pytest.mark.parametrize(
    "touch",
    [
        lambda one: one.report_status(201),
        lambda one: one.report_status(200, "Fine"),
        lambda one: one.report_status(None),
        lambda one: one.add_response_property("X-A", "b"),
        lambda one: one.add_response_property("content-type", ""),
    ],
)
def test_it_is_known_whether_a_handler_has_set_anything_of_an_answer(
    touch: Callable[[RequestProcessor], None],
) -> None:
    processor = RequestProcessor({"a": "b"})
    assert processor.untouched
    processor.get_request_property("a")
    assert processor.untouched
    touch(processor)
    assert not processor.untouched
