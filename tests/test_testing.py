"""The public helpers for handlers' own tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torchkeeper.testing import MockContext, run_handler
from torchkeeper.wire.messages import Failure, Reply

ECHO = """
def handle(data, context):
    if data is None:
        return None
    context.set_response_status(201, "Made", 0)
    return [sorted((key, bytes(value).decode()) for key, value in row.items()) for row in data]


def shout(data, context):
    return data and [context.get_request_header(0, "x-name").upper() for row in data]
"""


def test_a_module_function_is_run(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    one, two = run_handler(tmp_path / "echo.py", [b"hi", {"data": "ho", "n": b"1"}])
    assert isinstance(one, Reply)
    assert isinstance(two, Reply)
    assert (one.status, one.phrase) == (201, "Made")
    assert "hi" in one.body.decode()
    assert '"n"' in two.body.decode()


def test_another_function_and_headers(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    (answer,) = run_handler(f"{tmp_path}/echo.py:shout", [b""], headers={"X-Name": "ann"})
    assert isinstance(answer, Reply)
    assert answer.body == b"ANN"


def test_a_failure_is_what_the_server_would_get(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def handle(data, context):\n    return data and 1 / 0\n")
    (answer,) = run_handler(tmp_path / "bad.py", [b""])
    assert isinstance(answer, Failure)
    assert answer.cause == "ZeroDivisionError: division by zero (bad.py, line 2, in handle)"


def test_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    before = os.getcwd(), list(sys.path)
    run_handler(tmp_path / "echo.py", [b"hi"])
    assert (os.getcwd(), list(sys.path)) == before
    assert "echo" not in sys.modules


def test_mock_context(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("handler: {profile: true}")
    context = MockContext("m.pt", tmp_path, None, None, "net", "config.yaml")
    assert context.manifest == {"model": {"serializedFile": "m.pt"}}
    assert context.system_properties["model_dir"] == str(tmp_path)
    assert context.model_yaml_config == {"handler": {"profile": True}}
    assert not context.explain
    context.explain = True
    assert context.get_request_header(0, "explain") == "True"
    context.metrics.add_counter("x", 1, 0)
    assert [sample.request_id for sample in context.metrics.drain()] == [context.get_request_id()]
    assert [(one.name, one.value) for one in context.metrics.store] == [("x", 1)]


def test_a_mock_contexts_batch_grows_by_the_requests_that_are_asked_for(tmp_path: Path) -> None:
    context = MockContext(model_dir=tmp_path)
    assert list(context.request_ids or ()) == [0]
    context.set_response_status(500, "No", 2)
    context.set_response_content_type(1, "text/plain")
    assert [context.get_response_status(place) for place in range(3)] == [
        (200, None),
        (200, None),
        (500, "No"),
    ]
    ids = [context.get_request_id(place) for place in range(4)]
    assert None not in ids
    assert len(set(ids)) == 4
    assert list(context.request_ids or ()) == [0, 1, 2, 3]
    context.explain = True
    assert context.get_request_header(5, "explain") == "True"
    context.set_all_response_status(202)
    assert context.get_response_status(5)[0] == 202
