"""README's commands, run as they stand by a shell, in a copy of what they need."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WALK = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def absent(reason: str) -> None:
    """Skips where something outside is missing; continuous integration must have it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def explanations(said: str) -> list[list[list[list[float]]]]:
    """The JSON arrays (1, 28, 28) that curl printed, between and across the server's own log lines."""
    said = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} .*\n", "", said)
    decoder = json.JSONDecoder()
    return [decoder.raw_decode(said, found.start())[0] for found in re.finditer(r"\[\s+\[\s+\[\s", said)]


@pytest.mark.slow
@pytest.mark.usefixtures("known_ports")
def test_the_walk_word_for_word(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        absent("curl is not installed")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8080))
        except OSError:
            pytest.skip("port 8080 is busy, and the walk names it")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "config.properties", tmp_path)
    temp = tmp_path / "temp"
    temp.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "TMPDIR": str(temp)}
    script = "set -e\n" + "\n".join(WALK)
    log, errors = tmp_path / "out.log", tmp_path / "err.log"
    # Files and not pipes: the detached server keeps them open. curl's progress goes to the second.
    with log.open("wb") as out, errors.open("wb") as err:
        try:
            done = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, env=environ, stdout=out, stderr=err, timeout=120
            )
        finally:
            subprocess.run(["torchserve", "--stop", "--foreground"], env=environ, stdout=out, timeout=70)
    said = log.read_text()
    assert done.returncode == 0, said + errors.read_text()
    assert "Model server started." in said
    assert re.search(r"^0\S*", said, re.MULTILINE), "the digit"
    by_picture, by_json = explanations(said)
    assert by_picture == by_json, "two explanations of the same picture"
    assert len(by_picture[0]) == len(by_picture[0][0]) == 28
    shown = re.search(r"\[\s+\[\s+\[\s+(-[\d.e-]+),", (ROOT / "README.md").read_text())
    assert shown is not None
    # Processors round differently, and this first value is a small difference of larger ones.
    assert by_picture[0][0][0] == pytest.approx(float(shown[1]), rel=0.05)
    assert "answered=3 refused=0 failed=0 gone=0" in said
    assert not (temp / ".model_server.pid").exists()
