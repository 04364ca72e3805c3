"""What the log says first."""

from __future__ import annotations

from pathlib import Path

from torchkeeper import TORCHSERVE_VERSION, __version__
from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.logs.banner import banner


def test_it_says_which_server_this_is_and_where_it_serves(tmp_path: Path) -> None:
    settings, _ = load_settings(CommandLine(model_store=tmp_path, models=("a.mar", "b.mar")), {}, tmp_path)
    lines = banner(settings)
    assert lines[0] == f"Torchserve version: {TORCHSERVE_VERSION} (torchkeeper {__version__})"
    assert "Inference address: http://127.0.0.1:8080" in lines
    assert f"Model Store: {tmp_path}" in lines
    assert "Initial Models: a.mar,b.mar" in lines
    assert "Model API enabled: false" in lines
