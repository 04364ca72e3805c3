"""What a handler gave becomes a reply or a failure; of a batch, what cannot be sent fails alone."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from PIL import Image

from torchkeeper.handler.context import RequestProcessor
from torchkeeper.handler.errors import PredictionException
from torchkeeper.wire.messages import Failure, Reply
from torchkeeper.wire.remedies import remedy
from torchkeeper.worker.replies import (
    FAILED,
    OUT_OF_RESOURCES,
    UNSUPPORTED,
    Replier,
    cause_of,
    encode_value,
    failure_of,
    log,
    log_traceback,
    refusal,
)

TEXT, BYTES, JSON = "text/plain; charset=utf-8", "application/octet-stream", "application/json"


class Text(str):
    """Says that it is something else."""

    def encode(self, *_: object) -> bytes:
        return b"another"


class Leaves:
    """Ends its worker when it is looked at."""

    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("value", "body", "kind"),
    [
        ("tä", "tä".encode(), TEXT),
        (Text("text"), b"text", TEXT),
        (b"bytes", b"bytes", BYTES),
        (bytearray(b"bytes"), b"bytes", BYTES),
        ({"a": [1, None]}, b'{\n  "a": [\n    1,\n    null\n  ]\n}', JSON),
        (1.5, b"1.5", JSON),
        (True, b"true", JSON),
        (None, b"null", JSON),
    ],
)
def test_values_have_a_body_and_its_kind(value: Any, body: bytes, kind: str) -> None:
    assert encode_value(value) == (body, kind)
    assert type(encode_value(value)[0]) is bytes


@pytest.mark.slow  # torch is imported
def test_a_tensor_is_what_torch_saves() -> None:
    torch = pytest.importorskip("torch")
    body, kind = encode_value(torch.tensor([1.0, 2.0]))
    assert kind == BYTES
    assert torch.load(io.BytesIO(body)).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("value", [{1}, object(), "\ud800"])
def test_what_has_no_form_raises(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode_value(value)


def replier(*processors: RequestProcessor, limit: int = 100) -> Replier:
    ids = {place: f"id-{place}" for place in range(len(processors))}
    return Replier(processors, ids, fault=503, limit=limit)


def test_a_reply_has_what_the_handler_set_for_its_own_request() -> None:
    plain, set_up = RequestProcessor({}), RequestProcessor({})
    set_up.report_status(404, "Not here")
    set_up.add_response_property("X-Own", "value")
    set_up.add_response_property("Content-Type", "text/html")
    both = replier(plain, set_up)
    assert both.reply(0, "a") == Reply(b"a", 200, "", {}, TEXT)
    assert both.reply(1, "b") == Reply(b"b", 404, "Not here", {"X-Own": "value"}, "text/html")
    assert both.reply(1, "b", status=202) == Reply(b"b", 202, "Not here", {"X-Own": "value"}, "text/html")


def test_a_body_has_a_limit() -> None:
    one = replier(RequestProcessor({}), limit=3)
    assert one.reply(0, "abc") == Reply(b"abc", content_type=TEXT)
    failure = Failure(500, "Worker died.", "the answer has 4 bytes, max_response_size is 3")
    assert one.reply(0, "abcd") == failure


@pytest.mark.parametrize(
    ("value", "failure"),
    [
        (PredictionException("mine", 418), Failure(418, "mine")),
        (
            {1},
            Failure(
                503,
                UNSUPPORTED,
                "TypeError: Object of type set is not JSON serializable. "
                + remedy("TypeError", "is not JSON serializable"),
            ),
        ),
    ],
)
def test_a_value_may_be_a_failure(value: Any, failure: Failure, capsys: pytest.CaptureFixture[str]) -> None:
    assert replier(RequestProcessor({})).reply(0, value) == failure
    logged = "" if failure.cause is None else f"request id-0: {failure.cause}\n"
    assert capsys.readouterr().err == logged


def test_a_wrong_head_says_who_set_it_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    processor = RequestProcessor({})
    processor.report_status("abc")  # type: ignore[arg-type]
    failure = replier(processor).reply(0, "a")
    assert isinstance(failure, Failure)
    assert (failure.status, failure.message) == (503, FAILED)
    assert str(failure.cause).startswith("the response status 'abc' is no number (test_replies.py, line ")
    assert capsys.readouterr().err == f"request id-0: {failure.cause}\n"


def test_a_request_that_the_handler_has_taken_away_fails() -> None:
    failure = Replier([], {0: "id-0"}, fault=500, limit=10).reply(0, "a")
    assert failure == Failure(500, FAILED, "IndexError: list index out of range")


def test_only_a_handler_that_leaves_gets_through() -> None:
    processor = RequestProcessor({})
    processor.add_response_property(Leaves(), "x")  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        replier(processor).reply(0, "a")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ValueError("words"), Failure(500, FAILED, "ValueError: words")),
        (MemoryError("words"), Failure(507, OUT_OF_RESOURCES, "MemoryError: words")),
        (
            RuntimeError("CUDA out of memory"),
            Failure(507, OUT_OF_RESOURCES, "RuntimeError: CUDA out of memory"),
        ),
        (
            PredictionException("mine", 404),
            Failure(404, "mine", "PredictionException: mine : 404"),
        ),
        (KeyboardInterrupt(), Failure(500, FAILED, "KeyboardInterrupt")),
        (Image.DecompressionBombError("too many"), Failure(413, "too many")),
    ],
)
def test_what_a_handler_raises_becomes_a_failure(error: BaseException, failure: Failure) -> None:
    assert failure_of(error, 500) == failure


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (404, Failure(404, "mine", "why")),
        ("404", Failure(404, "mine", "why")),
        (413, Failure(507, "mine", "why")),
        (200, Failure(500, "mine", "the response status 200 is none of a failure")),
        ("abc", Failure(500, "mine", "the response status 'abc' is no number")),
    ],
)
def test_a_refusals_status_is_one_of_a_failure(code: Any, failure: Failure) -> None:
    assert refusal(PredictionException("mine", code), "why") == failure


def test_a_refusal_that_lacks_everything_is_one_all_the_same() -> None:
    bare = PredictionException.__new__(PredictionException)
    assert refusal(bare) == Failure(500, FAILED)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("one\ntwo\n"), "ValueError: one two"),
        (ValueError(), "ValueError"),
        (SyntaxError("no"), "SyntaxError: no"),
        (KeyError("no"), "KeyError: 'no'"),
        (json.JSONDecodeError("no", "", 0), "json.decoder.JSONDecodeError: no: line 1 column 1 (char 0)"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 500 + "..."),
    ],
)
def test_a_client_sees_one_bounded_line_of_an_error(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


def test_a_log_that_cannot_be_written_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (None, "no stream", io.StringIO()):
        if isinstance(stream, io.StringIO):
            stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        log("text")
        try:
            raise ValueError
        except ValueError:
            log_traceback()


@pytest.mark.parametrize(("module", "status"), [("mms.service", 400), ("elsewhere", 500)])
def test_the_exception_of_multi_model_servers_handlers_has_its_status(module: str, status: int) -> None:
    kind = type("PredictionException", (Exception,), {"__module__": module})
    error = type("Mine", (kind,), {})("no")
    error.message, error.error_code = "nothing to predict", 400
    failure = failure_of(error, 500)
    assert (failure.status, failure.message == "nothing to predict") == (status, status == 400)
