"""TorchServe's cloud storage example: rows of a streamed file, hundreds of requests at once."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from archives import archived

from servers import Server, eventually

SETUP = {"good": ["superb", "best"], "max_length": "5", "mode": "sequence_classification"}
SIZES = {
    "minWorkers": 2,
    "maxWorkers": 1000,
    "batchSize": 2000,
    "maxBatchDelay": 5000,
    "responseTimeout": 1200,
}
ROWS = 300

pytestmark = pytest.mark.slow


def write_reviews(path: Path) -> None:
    """Class, title and text of many reviews, as a CSV file in a packed archive."""
    text = io.StringIO()
    lines = csv.writer(text)
    for number in range(ROWS):
        word = ("superb", "dull")[number % 3 > 0]
        lines.writerow([1, f"title {number}", f"A {word} film. Number {number}"])
    with tarfile.open(path, "w:gz") as packed:
        for name in ("reviews/readme.txt", "reviews/test.csv"):
            member = tarfile.TarInfo(name)
            content = text.getvalue().encode() if name.endswith("csv") else b"nothing"
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


def read_reviews(path: Path) -> Iterator[str]:
    """The first sentence of each text."""
    with path.open("rb") as stored, tarfile.open(fileobj=stored, mode="r|gz") as packed:
        for member in packed:
            if member.isfile() and "test" in member.name:
                lines = packed.extractfile(member)
                assert lines is not None
                for line in lines:
                    yield line.decode().split(",")[2].split(".")[0]


async def ask_for_all(url: str, reviews: list[str]) -> list[httpx.Response]:
    """All at once, as text: what aiohttp makes of a str."""
    headers = {"content-type": "text/plain; charset=utf-8"}
    limits = httpx.Limits(max_connections=ROWS)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:
        bodies = [f'{{"text":"{review}"}}' for review in reviews]
        return await asyncio.gather(*(client.post(url, content=body, headers=headers) for body in bodies))


def test_the_example(tmp_path: Path) -> None:
    """Sizes from config.properties for a model named on the command line; far beyond the queue's 100."""
    store = tmp_path / "model_store"
    store.mkdir()
    (tmp_path / "setup_config.json").write_text(json.dumps(SETUP))
    (tmp_path / "index_to_name.json").write_text('{"0": "Negative", "1": "Positive"}')
    extra = [tmp_path / "setup_config.json", tmp_path / "index_to_name.json"]
    archived(store, "reviews", "reviews_handler.py", extra=extra)
    version = {"defaultVersion": True, "marName": "reviews.mar", **SIZES}
    settings: dict[str, object] = {"load_models": "all", "models": json.dumps({"my_tc": {"1.0": version}})}
    flags = ("--disable-token-auth", "--enable-model-api")
    server = Server(tmp_path, ("my_tc=reviews.mar",), settings, flags)

    def described() -> dict[str, Any]:
        (about,) = server.manage.get("/models/my_tc").json()
        return dict(about)

    assert {key: described()[key] for key in SIZES} == SIZES
    eventually(lambda: [one["status"] for one in described()["workers"]] == ["READY"] * 2)
    write_reviews(tmp_path / "reviews.tar.gz")
    reviews = list(read_reviews(tmp_path / "reviews.tar.gz"))
    assert len(reviews) == ROWS
    url = f"http://127.0.0.1:{server.port}/predictions/my_tc"
    answers = asyncio.run(ask_for_all(url, reviews))
    expected = [("Positive", "Negative")[number % 3 > 0] for number in range(ROWS)]
    assert [answer.text for answer in answers] == expected
    ledger = server.stop()
    assert ledger["answered"] == ledger["accepted"]
