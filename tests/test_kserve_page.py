"""The Kubernetes page: commands for one machine run as they stand, those for clusters as far as they can."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import tools  # type: ignore[import-not-found]  # pytest puts this folder on the path
from torchkeeper import deadlines
from torchkeeper.cli import torchkeeper

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "kserve.md").read_text()
PORTS = (8080, 8081, 8082, 8085, 7070, 7071)


@pytest.mark.slow
@pytest.mark.usefixtures("known_ports")
def test_the_local_run_word_for_word(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        tools.unavailable("curl is not installed")
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                pytest.skip(f"port {port} is busy, and the page names it")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    temp = tmp_path / "temp"
    temp.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "TMPDIR": str(temp)}
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    log = tmp_path / "out.log"
    # A file and not a pipe: the detached server keeps it open.
    with log.open("wb") as out:
        try:
            done = subprocess.run(
                ["bash", "-c", f"set -e\n{block}"],
                cwd=tmp_path,
                env=environ,
                stdout=out,
                stderr=out,
                timeout=120,
            )
        finally:
            subprocess.run(["torchserve", "--stop", "--foreground"], env=environ, stdout=out, timeout=70)
    said = log.read_text()
    assert done.returncode == 0, said
    for line in ('{"models":["mnist"]}', '{"predictions":[2]}', '{"ready":true}'):
        assert line in said.replace(": ", ":"), said
    assert "- KServe API bind to: http://0.0.0.0:8080 (port 8080)" in said
    assert "gRPC KServe API bind to: 0.0.0.0 (port 8081)" in said


def test_the_manifests_of_the_page_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"^ *torchkeeper (manifest .*?) > mnist\.yaml$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert torchkeeper(shlex.split(command)) == 0
        assert "kind: " in capsys.readouterr().out


def test_the_stop_that_the_page_tells_of_is_the_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    (seconds,) = re.findall(r"stop \| (\d+) s .* get (\d+) s, workers (\d+) s; after (\d+) s in all", PAGE)
    slept, drain, workers, grace = map(int, seconds)
    assert torchkeeper(["manifest", "k8s", "mnist", "--image=x", "--storage-uri=pvc://models"]) == 0
    shown = capsys.readouterr().out
    assert f"terminationGracePeriodSeconds: {grace}\n" in shown
    assert f"- '{slept}'\n" in shown
    assert (drain, workers) == (deadlines.DRAIN, deadlines.WORKER_STOP)
