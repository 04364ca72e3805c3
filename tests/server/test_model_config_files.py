"""A file of the operator's in the place of keys of an archive's model-config.yaml, on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers import Server, make_archive  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path

pytestmark = pytest.mark.slow

HANDLER = """
class Told:
    def initialize(self, context):
        self.told = context.model_yaml_config

    def handle(self, data, context):
        return [dict(self.told)] * len(data)
"""
OWN = "batchSize: 2\nmaxBatchDelay: 7\ncolour: blue\n"
TUNED = "batchSize: 8\nminWorkers: 1\nmaxWorkers: 1\ncolour: red\ntunedFor: {cores: 1000, features: [warp]}\n"


def test_it_replaces_keys_of_the_model_that_it_is_named_for(tmp_path: Path) -> None:
    store = tmp_path / "model_store"
    store.mkdir()
    make_archive(store, "m", HANDLER, config=OWN)
    make_archive(store, "n", HANDLER, config=OWN)
    (tmp_path / "tuned.yaml").write_text(TUNED)
    flags = ("--disable-token-auth", "--model-config", "m=tuned.yaml")
    server = Server(tmp_path, ("m=m-1.0.mar", "n=n-1.0.mar"), {"default_workers_per_model": 1}, flags)
    told = server.client.post("/predictions/m", content=b"1").json()
    assert (told["batchSize"], told["maxBatchDelay"], told["colour"]) == (8, 7, "red")
    (found,) = server.manage.get("/models/m?setting_origins=true").json()
    assert (found["batchSize"], found["maxBatchDelay"]) == (8, 7)
    assert found["settingOrigins"]["batchSize"] == "model-config.yaml/tuned.yaml"
    assert found["settingOrigins"]["maxBatchDelay"] == "model-config.yaml/model-config.yaml"
    server.wait_for(r"model m: its settings were found for 1000 cores, not \d+, and a processor with warp")
    told = server.client.post("/predictions/n", content=b"1").json()
    assert (told["batchSize"], told["colour"]) == (2, "blue")
    assert "model n: its settings" not in server.output
    server.stop()
