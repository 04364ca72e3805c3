"""The commands: flags, what is said before anything starts, and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from torchkeeper.cli import checked_settings, torchserve_parser
from torchkeeper.errors import LaunchRefused


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchkeeper.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--version"], "TorchServe Version is 0.12.0", 0),
        (["--start"], "Missing mandatory parameter --model-store", 1),
        (["--start", "--model-store", "nope"], "--model-store directory not found: nope", 1),
        (["--start", "--ts-config", "nope"], "--ts-config file not found: nope", 1),
    ],
)
def test_what_torchserve_says(tmp_path: Path, arguments: list[str], said: str, code: int) -> None:
    done = run(tmp_path, *arguments)
    assert (done.stdout.strip(), done.returncode) == (said, code)


def test_start_and_stop_exclude_each_other(tmp_path: Path) -> None:
    done = run(tmp_path, "--start", "--stop")
    assert done.returncode == 2
    assert "not allowed with argument" in done.stderr


def test_a_bad_value_is_answered_before_anything_loads(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("job_queue_size=banana\n")
    probe = (
        "import sys; from torchkeeper.cli import torchserve; code = torchserve(['--model-store', '.']);"
        "print(code, [name for name in ('torch', 'uvloop', 'torchkeeper.server') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    first, last = done.stdout.strip().splitlines()
    assert first.startswith("Invalid configuration: job_queue_size=banana (")
    assert last == "1 []"


def test_only_a_workflow_store_of_the_command_line_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("workflow_store=/nowhere\nmodel_store=.\n")
    settings, _ = checked_settings(torchserve_parser().parse_args(["--ncs"]), {}, tmp_path)
    assert settings.workflow_store == Path("/nowhere")
    flags = torchserve_parser().parse_args(["--ncs", "--workflow-store", "nope"])
    with pytest.raises(LaunchRefused, match="--workflow-store directory not found: nope"):
        checked_settings(flags, {}, tmp_path)


def test_the_command_that_prints_settings_shows_what_is_said_of_models_and_where(tmp_path: Path) -> None:
    models = '{"m": {"1.0": {"batchSize": "4"}}}'
    kept = '{"models": {"k": {"2": {"marName": "k.mar", "minWorkers": 3}}}}'
    (tmp_path / "c.properties").write_text(f"models={models}\nmodel_snapshot={kept}\njob_queue_size=7\n")
    command = [sys.executable, "-c", "from torchkeeper.cli import torchkeeper; torchkeeper()", "config"]
    done = subprocess.run(
        [*command, "--ts-config", "c.properties", "--show-origin"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    path = tmp_path / "c.properties"
    lines = done.stdout.splitlines()
    assert f"job_queue_size=7\tfile {path}:3" in lines
    assert f"models={models}\tfile {path}:1" in lines
    assert lines[-2:] == [
        f"models/m/1.0/batchSize=4\tfile {path}:1",
        f"model_snapshot/k/2/minWorkers=3\tfile {path}:2",
    ]
