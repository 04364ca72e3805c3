"""The command: whole set-ups, what is printed, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchkeeper.archive.archive import MANIFEST
from torchkeeper.doctor import Finding, Verdict, examine

DATA = Path(__file__).parents[1] / "data"
# The configuration of TorchServe's Docker image.
DOCKER = """\
inference_address=http://0.0.0.0:8080
management_address=http://0.0.0.0:8081
metrics_address=http://0.0.0.0:8082
number_of_netty_threads=32
job_queue_size=1000
model_store=model-store
workflow_store=wf-store
"""
# In the style of its KServe image.
KSERVE = """\
inference_address=http://0.0.0.0:8085
management_address=http://0.0.0.0:8085
metrics_address=http://0.0.0.0:8082
grpc_inference_port=7070
grpc_management_port=7071
enable_envvars_config=true
install_py_dep_per_model=true
metrics_mode=prometheus
NUM_WORKERS=1
number_of_netty_threads=4
job_queue_size=10
model_store=model-store
model_snapshot={"name":"startup.cfg","modelCount":1,"models":{"good":{"1.0":{"defaultVersion":true,\
"marName":"good.mar","minWorkers":1,"maxWorkers":5,"batchSize":1,"maxBatchDelay":10,"responseTimeout":120}}}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a store that holds one good model (a folder called like an archive)."""
    model = tmp_path / "model-store" / "good.mar"
    (model / "MAR-INF").mkdir(parents=True)
    (model / "h.py").write_text("def handle(data, context):\n    return data\n")
    manifest = {"runtime": "python", "model": {"modelName": "good", "modelVersion": "1.0", "handler": "h.py"}}
    (model / MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


def test_a_folder_outside_the_store_that_is_named_is_examined(home: Path) -> None:
    """As SageMaker's toolkit names it, with the handler in the configuration."""
    folder = home / "opt" / "model"
    folder.mkdir(parents=True)
    config = home / "own.properties"
    for handler in ("good.mar/h.py", "gone/h.py"):
        path = home / "model-store" / handler
        config.write_text(f"load_models=model={folder}\ndefault_service_handler={path}:handle\n")
        of_folder = [
            one.verdict
            for one in examine(config, home / "model-store", {}, home)
            if (one.place, one.what) in (("model", "archive"), ("model", "handler"))
        ]
        assert of_folder == [Verdict.BROKEN if "gone" in handler else Verdict.WORKS]


def broken(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.what for finding in findings if finding.verdict is Verdict.BROKEN]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DOCKER, []),
        (DOCKER + "load_models=good.mar\n", []),
        (DOCKER + "load_models=all\n", []),
        (DOCKER + "load_models=other.mar\n", ["load_models: other.mar"]),
        (DOCKER + "default_workers_per_model=few\n", ["default_workers_per_model"]),
        (DOCKER + "service_envelope=nothing_such\n", ["service_envelope"]),
        (DOCKER.replace("model_store=model-store", ""), ["model_store"]),
        (DOCKER.replace("model_store=model-store", "model_store=nowhere"), ["model_store"]),
        (KSERVE, []),
        (KSERVE.replace("good.mar", "gone.mar"), ["model good version 1.0"]),
        ("model_store=$$STORE$$\n", []),
        ("model_store=$$UNSET$$\n", ["model_store", "model_store"]),
    ],
)
def test_set_ups(home: Path, text: str, expected: list[str]) -> None:
    (home / "config.properties").write_text(text)
    findings = examine(None, None, {"STORE": "model-store"}, home)
    assert broken(findings) == expected


def test_a_snapshot_of_torchserves(home: Path) -> None:
    findings = examine(DATA / "20261125043925467-snapshot.cfg", Path("model-store"), {}, home)
    assert broken(findings) == [
        f"model {name}" for name in ("other version 1.0", "echo version 1.0", "echo version 2.0")
    ]
    assert ("good.mar", "archive") in [(finding.place, finding.what) for finding in findings]


def test_a_snapshot_that_beats_the_file_is_examined(home: Path) -> None:
    (home / "config.properties").write_text("job_queue_size=many\n")
    folder = home / "logs" / "config"
    folder.mkdir(parents=True)
    (folder / "20261125043925467-startup.cfg").write_text("model_store=model-store\n")
    findings = examine(None, None, {}, home)
    assert broken(findings) == []
    assert findings[0].place == "config.properties"
    assert findings[0].verdict is Verdict.IGNORED


def test_files_beside_and_files_named(home: Path) -> None:
    (home / "metrics.yaml").write_text("ts_metrics: {summary: []}\n")
    (home / "log4j2.xml").write_text('<C><Root level="beside"/></C>')
    (home / "elsewhere.xml").write_text('<C><Root level="named"/></C>')
    (home / "config.properties").write_text(DOCKER)
    assert broken(examine(None, None, {}, home)) == ["ts_metrics"]
    (home / "config.properties").write_text(
        DOCKER
        + f"vmargs=-Xmx1g -Dlog4j.configurationFile=file://{home}/elsewhere.xml\nmetrics_config=gone.yaml\n"
    )
    findings = examine(None, None, {}, home)
    assert broken(findings) == []
    told = {finding.place: finding.why for finding in findings}
    assert told["elsewhere.xml"].startswith("root=named")
    assert "log4j2.xml" not in told
    assert "cannot be read" in told["gone.yaml"]


@pytest.mark.parametrize("name", ["gone.properties", "folder"])
def test_a_file_that_is_not_there(home: Path, name: str) -> None:
    (home / "folder").mkdir()
    (finding,) = examine(Path(name), None, {}, home)
    assert (finding.verdict, finding.why) == (Verdict.BROKEN, f"--ts-config file not found: {name}")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from torchkeeper.cli import torchkeeper; sys.exit(torchkeeper())"
    command = [sys.executable, "-c", program, "doctor", *arguments]
    environ = {name: value for name, value in os.environ.items() if name != "TS_CONFIG_FILE"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=30)


def test_the_command(home: Path) -> None:
    (home / "config.properties").write_text("number_of_netty_threads=1\n")
    good = run(home, "--ts-config", "config.properties", "--model-store", "model-store")
    assert (good.returncode, good.stderr) == (0, "")
    *lines, last = good.stdout.splitlines()
    why = "number_of_netty_threads: not needed: there is one event loop"
    assert f"ignored        config.properties:1  {why}" in lines
    assert "works          good.mar  archive: good version 1.0" in lines
    assert last.endswith("0 would not run")
    bad = run(home)
    assert bad.returncode == 1
    line = "would not run  config.properties  model_store: Missing mandatory parameter --model-store"
    assert line in bad.stdout.splitlines()


def test_a_torch_that_loads_weights_unsafely_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> list[str]:
        return [finding.why for finding in examine(None, tmp_path, {}, tmp_path) if finding.place == "torch"]

    assert told() == []
    (tmp_path / "torch-2.5.1.dist-info").mkdir()
    (tmp_path / "torch-2.5.1.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.5.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    (why,) = told()
    assert why.startswith("torch 2.5.1 lets a pickle of weights run code")
