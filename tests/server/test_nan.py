"""NaN in answers of a real server, by each setting and on each URL; the others of a batch have theirs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from conftest import Server, Start  # type: ignore[import-not-found]  # pytest puts this folder on the path

HANDLER = """
def handle(data, context):
    return [one(row) for row in data or ()]

def one(row):
    said = row if isinstance(row, str) else bytes(row.get("body") or row.get("data") or b"").decode()
    return {"score": float(said)}
"""

pytestmark = pytest.mark.slow


def asked(server: Server, said: str) -> tuple[httpx.Response, httpx.Response]:
    """What the same is answered on TorchServe's URL and KServe's."""
    return (
        server.client.post("/predictions/m", content=said.encode()),
        server.client.post("/v1/models/m:predict", json={"instances": [said]}),
    )


@pytest.mark.parametrize(("policy", "score"), [("keep", "NaN"), ("null", "null")])
def test_it_stays_or_is_null(serve: Start, policy: str, score: str) -> None:
    server = serve({"m": HANDLER}, nan_in_answers=policy)
    plain, v1 = asked(server, "nan")
    assert (plain.status_code, plain.text) == (200, f'{{\n  "score": {score}\n}}')
    assert (v1.status_code, v1.text) == (200, f'{{"predictions":[{{"score":{score}}}]}}')


def test_it_fails_alone(serve: Start) -> None:
    config = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\nbatchPolicy: delay\nmaxBatchDelay: 2000\n"
    server = serve({"m": HANDLER}, config, nan_in_answers="error")
    with ThreadPoolExecutor(8) as pool:
        said = ["1.5"] * 7 + ["inf"]
        answers = list(pool.map(lambda one: server.client.post("/predictions/m", content=one), said))
    assert [answer.status_code for answer in answers] == [200] * 7 + [503]
    assert answers[0].json() == {"score": 1.5}
    body: dict[str, Any] = json.loads(answers[7].text)
    assert body["cause"] == (
        "ValueError: the answer has Infinity in it, which JSON does not have (nan_in_answers=error)"
    )
    _, v1 = asked(server, "nan")
    assert v1.status_code == 500
    assert len(server.workers()) == 1
