"""A model's load in the header of an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.calling import Answering, call
from torchkeeper.api.inference import InferenceApi
from torchkeeper.api.kserve import infer
from torchkeeper.api.orca import report
from torchkeeper.api.routes import Endpoint
from torchkeeper.serving.ask import Busyness
from torchkeeper.wire.messages import Reply

TEXT = "TEXT application_utilization=1.25,named_metrics.queue_depth=8,named_metrics.ready_workers=2"
JSON = 'JSON {"application_utilization":1.25,"named_metrics":{"queue_depth":8,"ready_workers":2}}'


@pytest.mark.parametrize(
    ("form", "told"),
    [("TEXT", TEXT), ("text", TEXT), (" json ", JSON), ("JSON", JSON), ("BIN", None), ("", None)],
)
def test_forms(form: str, told: str | None) -> None:
    assert report(form, Busyness(serving=2, busy=1, waiting=8, batch_size=8)) == (
        told and told.replace("1.25", "1.0" if "JSON" in told else "1")
    )
    assert report(form, Busyness(serving=2, busy=2, waiting=8, batch_size=16)) == told


@pytest.mark.parametrize(
    ("serving", "busy", "waiting", "utilization"),
    [(4, 0, 0, 0.0), (4, 1, 0, 0.25), (4, 4, 0, 1.0), (2, 2, 16, 2.0), (0, 0, 0, 0.0), (0, 0, 8, 1.0)],
)
def test_how_busy(serving: int, busy: int, waiting: int, utilization: float) -> None:
    assert Busyness(serving, busy, waiting, 8).utilization == utilization


@pytest.mark.parametrize("asked", [None, "Endpoint-Load-Metrics-Format"])
def test_who_asks_is_told_on_every_url(asked: str | None) -> None:
    headers = {asked: "TEXT"} if asked else {}

    async def run() -> list[Reply]:
        ask: Any = Answering(Reply(b"7", headers={"x": "y"}))
        api = InferenceApi(ask, ask, 1000)
        native = await api.endpoints()[Endpoint.PREDICT](call("POST", "/predictions/m", b"x", headers))
        assert isinstance(native, Reply)
        return [native, await infer(call("POST", "/v1/models/m:predict", b"{}", headers), ask, "kserve")]

    for reply in asyncio.run(run()):
        told = {"endpoint-load-metrics": TEXT.replace("1.25", "0.5").replace("8", "0")} if asked else {}
        assert reply.headers == {"x": "y"} | told
