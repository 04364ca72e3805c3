"""Disks without room, for logs, for what is unpacked, for the model store: it serves on and leaves nothing.

The disks are small ones of the server's own, where this user may have some; that no file may grow is shown
everywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from scene import private, server_of  # type: ignore[import-not-found]

from servers import Server, eventually, make_archive

pytestmark = pytest.mark.slow

WARNING = "log lines cannot be written to"
#: A model that is larger than the small disks.
LARGE = 3_000_000


def small_disk(place: Path, size: str = "1m") -> tuple[str, ...]:
    """The command that gives the server a disk of that size at a folder, new to the test if need be."""
    place.mkdir(exist_ok=True)
    found: tuple[str, ...] | None = private(place, size)
    if found is None:
        pytest.skip("this user may not mount anything, in a namespace of its own either")
    return found


def lost(server: Server) -> int:
    """Log lines that the disk did not take."""
    page = server.metrics.get("/metrics").text
    (count,) = re.findall(r'^torchkeeper_log_lines_lost\{where="disk",?\} (\S+)$', page, re.MULTILINE)
    return int(float(count))


def seen(server: Server, place: Path) -> Path:
    """A folder as the server sees it."""
    return Path(f"/proc/{server.process.pid}/root{place}")


def large_archive(folder: Path) -> Path:
    """An archive that unpacks to more than a small disk has."""
    other = folder / "elsewhere"
    other.mkdir()
    noise = other / "noise.bin"
    noise.write_bytes(os.urandom(LARGE))
    archive = make_archive(other, "large", "def handle(data, context):\n    return data\n")
    shutil.copy(archive, other / "copy.mar")
    with zipfile.ZipFile(other / "copy.mar", "a") as file:
        file.write(noise, "noise.bin")
    return other / "copy.mar"


def asked(server: Server, times: int) -> None:
    for _ in range(times):
        assert server.client.post("/predictions/echo", content=b"x" * 20).text == "x" * 20


def test_a_full_disk_for_logs_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "small"
    server = server_of(tmp_path, prefix=small_disk(place), environ={"LOG_LOCATION": str(place)})
    ballast = seen(server, place) / "ballast"
    with open(ballast, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    while lost(server) < 30:
        asked(server, 10)
    assert server.output.count(WARNING) == 1
    ballast.unlink()

    def told() -> bool:
        asked(server, 1)
        return "log lines can be written again" in server.output

    eventually(told)
    (said,) = re.findall(r"written again; (\d+) were lost", server.output)
    assert int(said) == lost(server) >= 30
    for log in seen(server, place).glob("*.log"):
        assert log.read_bytes().endswith(b"\n") or not log.stat().st_size, "a torn line"
    assert server.stop()["failed"] == 0


def refused(server: Server, url: str, status: int = 507) -> str:
    """The reason why an archive is not taken; nothing is left of it, and others are taken."""
    answer = server.manage.post("/models", params={"url": url, "initial_workers": 1, "synchronous": "true"})
    assert answer.status_code == status, answer.text
    names = [model["modelName"] for model in server.manage.get("/models").json()["models"]]
    assert names == ["echo"]
    small = {"url": "other-1.0.mar", "model_name": "small", "initial_workers": 1, "synchronous": "true"}
    assert server.manage.post("/models", params=small).status_code == 200
    asked(server, 3)
    assert server.manage.delete("/models/small").status_code == 200
    return str(answer.json()["message"])


def test_a_full_disk_for_what_is_unpacked_refuses_what_is_too_large(tmp_path: Path) -> None:
    large = large_archive(tmp_path)
    server = server_of(tmp_path, prefix=small_disk(tmp_path / "temp"))
    shutil.copy(large, tmp_path / "model_store" / "large.mar")
    before = sorted(files(seen(server, tmp_path / "temp")))
    assert "the disk has room for" in refused(server, "large.mar")
    assert sorted(files(seen(server, tmp_path / "temp"))) == before
    assert server.stop()["failed"] == 1, "507 is no refusal of the client's"


def test_a_full_model_store_takes_no_download(tmp_path: Path) -> None:
    large = large_archive(tmp_path)
    prefix = small_disk(tmp_path / "model_store")
    # The disk hides what lies below it: the server's own archives are put there once it is mounted.
    fill = ("sh", "-c", f'cp "{tmp_path}"/kept/* "{tmp_path}/model_store" && exec "$@"', "sh")
    server = server_of(tmp_path, prefix=(*prefix, *fill), kept=tmp_path / "kept")
    store = seen(server, tmp_path / "model_store")
    before = sorted(files(store))
    assert "has room for" in refused(server, f"file://{large}")
    assert sorted(files(store)) == before
    server.stop()


def files(folder: Path) -> Iterator[str]:
    """What lies in a folder, at any depth."""
    return (str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed")
def test_where_no_file_may_grow_all_is_refused_that_needs_it(tmp_path: Path) -> None:
    large = large_archive(tmp_path)
    server = server_of(tmp_path, prefix=("prlimit", "--fsize=20000"))
    shutil.copy(large, tmp_path / "model_store" / "large.mar")
    unpacked = sorted(files(server.temp))
    store = sorted(files(tmp_path / "model_store"))
    while not lost(server):
        asked(server, 10)
    asked(server, 10)
    assert refused(server, "large.mar") == "large.mar: cannot be unpacked: File too large"
    assert "it cannot be kept: File too large" in refused(server, f"file://{large}")
    assert sorted(files(server.temp)) == unpacked
    assert sorted(files(tmp_path / "model_store")) == store
    assert server.output.count(WARNING) == 1
    server.stop()
