"""Pages of other sites manage no models: every writing method and route of a real server without tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import Server, make_archive

HANDLER = "def handle(data, context):\n    return ['fine'] * len(data or ())\n"
WRITES = (
    ("POST", "/models?url=m-1.0.mar"),
    ("PUT", "/models/m?min_worker=0"),
    ("PUT", "/models/m/1.0?min_worker=0"),
    ("PUT", "/models/m/1.0/set-default"),
    ("DELETE", "/models/m"),
    ("DELETE", "/models/m/1.0"),
    ("POST", "/v2/repository/models/m/unload"),
    ("POST", "/v2/repository/models/m/load"),
)
#: Of a page of another site, and by a name that was made to lead here.
FOREIGN = (
    {"Origin": "https://page.example", "Content-Type": "text/plain"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Host": "rebind.example", "Origin": "http://rebind.example", "Sec-Fetch-Site": "same-origin"},
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("sites")
    (folder / "model_store").mkdir()
    make_archive(folder / "model_store", "m", HANDLER)
    settings = {"default_workers_per_model": 1, "enable_model_api": "true"}
    server = Server(folder, ("m=m-1.0.mar",), settings)
    yield server
    server.stop()


@pytest.mark.parametrize("fields", FOREIGN, ids=["page", "opaque", "fetched", "rebound"])
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_page_of_another_site_writes_nothing(
    server: Server, method: str, path: str, fields: dict[str, str]
) -> None:
    answer = server.manage.request(method, path, headers=fields)
    assert answer.status_code == 403
    assert "may come from another site" in answer.text
    (model,) = server.manage.get("/models/m").json()
    assert len(model["workers"]) == 1


def test_everybody_else_does(server: Server) -> None:
    port = server.manage.base_url.port
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", "Sec-Fetch-Site": "same-origin"}
    for fields in ({}, own):
        assert server.manage.put("/models/m/1.0/set-default", headers=fields).status_code == 200
    # What changes nothing, and predictions, are as open as they are under TorchServe.
    foreign = {"Origin": "https://page.example", "Host": "rebind.example"}
    assert server.manage.get("/models", headers=foreign).status_code == 200
    assert server.client.post("/predictions/m", content=b"x", headers=foreign).text == "fine"
