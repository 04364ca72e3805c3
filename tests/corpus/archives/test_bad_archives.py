"""Every bad archive is refused with its reason, by the reader and by a real server, and leaves nothing."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bad_archives import HANDLERS, NONE, WORKERS, archive, bad_archives, packed

from servers import Server
from torchkeeper.archive.archive import open_archive
from torchkeeper.errors import ArchiveError

BAD = bad_archives()
#: Refused only by what comes after the reader.
LATER = (HANDLERS, NONE, WORKERS)


def listing(*folders: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_size) for folder in folders for path in folder.rglob("*")}


@pytest.mark.parametrize("name", BAD)
def test_the_reader_says_what_is_wrong_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    data, said = BAD[name]
    path = tmp_path / "m.mar"
    path.write_bytes(data)
    if said in LATER:
        open_archive(path, tmp_path / "into")
        return
    with pytest.raises(ArchiveError) as raised:
        open_archive(path, tmp_path / "into")
    assert raised.value.message.startswith("m.mar: ")
    assert re.search(said, raised.value.message)
    assert str(tmp_path) not in raised.value.message
    assert listing(tmp_path) == {(str(path), len(data))}


@pytest.mark.parametrize("data", [archive(), packed()])
def test_what_they_are_made_from_is_good(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.mar"
    path.write_bytes(data)
    assert open_archive(path, tmp_path / "into").manifest.handler == "h.py"
    assert (tmp_path / "into" / "h.py").is_file()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Sends the files of the folder `host`."""
    (tmp_path / "host").mkdir()

    class Host(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "host"))

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_a_server_refuses_each_from_store_and_network_and_nothing_is_left(tmp_path: Path, host: str) -> None:
    store = tmp_path / "model_store"
    store.mkdir()
    server = Server(tmp_path, (), {"enable_model_api": True})
    before = listing(store, server.temp)
    try:
        for name, (data, said) in BAD.items():
            for place, url in ((store, "bad.mar"), (tmp_path / "host", f"{host}/bad.mar")):
                (place / "bad.mar").write_bytes(data)
                answer = server.manage.post("/models", params={"url": url, "initial_workers": 0})
                (place / "bad.mar").unlink()
                assert answer.status_code == 400, (name, answer.text)
                assert re.search(said, answer.json()["message"]), name
                assert str(tmp_path) not in answer.text, name
                assert ".quarantine" not in answer.text, name
                assert listing(store, server.temp) == before, name
        assert server.manage.get("/models").json() == {"models": []}
    finally:
        server.stop()
