"""Starting detached and stopping, with real processes: what is said, and the exit codes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from servers import BIN, Program


def torchserve(folder: Path, *arguments: str, temp: Path | None = None) -> subprocess.CompletedProcess[str]:
    log = folder / f"said-{uuid.uuid4().hex}"
    with log.open("w") as said:  # a file and not a pipe: a detached server keeps it open
        done = subprocess.run(
            [sys.executable, "-m", "torchkeeper.cli", *arguments],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(temp or folder)},
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=90,
        )
    return subprocess.CompletedProcess([], done.returncode, log.read_text())


def test_nothing_to_stop(tmp_path: Path) -> None:
    done = torchserve(tmp_path, "--stop")
    assert (done.stdout, done.returncode) == ("TorchServe is not currently running.\n", 0)


def test_a_stale_pid_file_is_removed(tmp_path: Path) -> None:
    pid_file = tmp_path / ".model_server.pid"
    pid_file.write_text("1")
    done = torchserve(tmp_path, "--stop")
    assert done.stdout.startswith("Removing orphan pid file.\n")
    assert not pid_file.exists()


#: Any free ports.
ADDRESSES = (
    "".join(f"{api}_address=http://127.0.0.1:0\n" for api in ("inference", "management", "metrics"))
    + "grpc_inference_port=0\ngrpc_management_port=0\n"
)


@pytest.mark.slow
def test_a_server_that_cannot_listen_fails_with_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "config.properties").write_text(f"{ADDRESSES}inference_address=http://127.0.0.1:{port}\n")
        done = torchserve(tmp_path, "--start", "--model-store", ".", "--ncs")
    assert done.returncode == 1
    assert f"inference_address=http://127.0.0.1:{port}: cannot listen there" in done.stdout
    assert "TorchServe failed to start" in done.stdout
    assert not (tmp_path / ".model_server.pid").exists()


@pytest.mark.slow
def test_start_start_again_stop(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text(ADDRESSES)
    first = torchserve(tmp_path, "--start", "--model-store", ".", "--ncs")
    try:
        assert first.returncode == 0, first.stdout
        again = torchserve(tmp_path, "--start", "--model-store", ".", "--ncs")
        assert again.returncode == 1
        assert again.stdout == (
            "TorchServe is already running, please use torchserve --stop to stop TorchServe.\n"
        )
    finally:
        stopped = torchserve(tmp_path, "--stop", "--foreground")
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert not (tmp_path / ".model_server.pid").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "config", "mark"),
    [
        ("torchserve", "--ts-config", "org.pytorch.serve.ModelServer"),
        ("multi_model_server", "--mms-config", "com.amazonaws.ml.mms.ModelServer"),
    ],
)
def test_who_looks_for_the_java_class_finds_one_process(
    tmp_path: Path, command: str, config: str, mark: str
) -> None:
    """SageMaker's toolkits want an argument that equals it, of one process."""
    (tmp_path / "own.properties").write_text(ADDRESSES)
    run = f"import sys; from torchkeeper.cli import {command}; sys.exit({command}())"
    flags = ["--start", config, "own.properties", "--model-store", "."]
    with (tmp_path / "said").open("w") as said:
        subprocess.run(
            [sys.executable, "-c", run, *flags],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=90,
            check=True,
        )
    try:
        front = psutil.Process(int((tmp_path / ".model_server.pid").read_text()))
        family = [front, *front.children(recursive=True)]
        assert len(family) > 1
        assert [process for process in family if mark in process.cmdline()] == [front]
    finally:
        stopped = torchserve(tmp_path, "--stop", "--foreground")
    assert stopped.returncode == 0


@pytest.mark.slow
def test_a_server_in_the_foreground_is_found_too(tmp_path: Path) -> None:
    """As notebooks do it: `!torchserve --start --foreground &`, and later `!torchserve --stop`."""
    (tmp_path / "config.properties").write_text(ADDRESSES)
    flags = ["--start", "--foreground", "--model-store", ".", "--ncs"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    server = Program([BIN / "torchserve", *flags], tmp_path, environ)
    server.wait_for("Model server started.")
    assert (tmp_path / ".model_server.pid").read_text() == str(server.process.pid)
    front = psutil.Process(server.process.pid)
    family = [front, *front.children(recursive=True)]
    assert [one for one in family if "org.pytorch.serve.ModelServer" in one.cmdline()] == [front]
    assert str(BIN / "torchserve") in front.cmdline()
    for again in (flags, ["--start", "--model-store", ".", "--ncs"]):
        refused = torchserve(tmp_path, *again)
        assert (refused.returncode, "already running" in refused.stdout) == (1, True)
    stopped = torchserve(tmp_path, "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "TorchServe has stopped.\n")
    server.end()
    assert not (tmp_path / ".model_server.pid").exists()


@pytest.mark.slow
def test_stop_and_then_start_in_a_script(tmp_path: Path) -> None:
    """The next server begins while the one before may still be answering what it holds."""
    sockets = "".join(f"{api}_address=unix:{api}\n" for api in ("inference", "management", "metrics"))
    (tmp_path / "config.properties").write_text(f"{sockets}grpc_inference_port=0\ngrpc_management_port=0\n")
    flags = ("--start", "--model-store", ".", "--ncs")
    numbers = []
    try:
        for _ in range(3):
            torchserve(tmp_path, "--stop")
            started = torchserve(tmp_path, *flags)
            assert started.returncode == 0, started.stdout
            numbers.append((tmp_path / ".model_server.pid").read_text())
            for earlier in numbers[:-1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(int(earlier)).wait(60)
            for api in ("inference", "management", "metrics"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(tmp_path / api))
            assert psutil.pid_exists(int((tmp_path / ".model_server.pid").read_text()))
    finally:
        torchserve(tmp_path, "--stop", "--foreground")
    assert len(set(numbers)) == 3


@pytest.mark.slow
def test_a_server_of_the_alias_in_the_foreground_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "own.properties").write_text(ADDRESSES)
    command = tmp_path / "multi-model-server"
    command.write_text(
        "import sys\nfrom torchkeeper.__main__ import multi_model_server\nsys.exit(multi_model_server())\n"
    )
    flags = ["--foreground", "--mms-config", "own.properties", "--model-store", "."]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    server = Program([sys.executable, "multi-model-server", *flags], tmp_path, environ)
    server.wait_for("Model server started.")
    assert "com.amazonaws.ml.mms.ModelServer" in psutil.Process(server.process.pid).cmdline()
    stopped = torchserve(tmp_path, "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "TorchServe has stopped.\n")
    server.end()


@pytest.mark.slow
def test_a_restarted_container_does_not_take_itself_for_another_server(tmp_path: Path) -> None:
    """The file says the number of its own process, as one that was killed left it."""
    (tmp_path / "config.properties").write_text(ADDRESSES)
    program = (
        "import os, pathlib, sys; from torchkeeper.cli import torchserve\n"
        "pathlib.Path('.model_server.pid').write_text(str(os.getpid()))\n"
        "sys.exit(torchserve(['--foreground', '--model-store', '.', '--ncs']))"
    )
    server = Program([sys.executable, "-c", program], tmp_path, {**os.environ, "TMPDIR": str(tmp_path)})
    server.wait_for("Model server started.")
    server.end()


@pytest.mark.slow
def test_stop_removes_the_servers_key_file_wherever_it_is_called_from(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
        (folder / "key_file.json").write_text("{}")
    (home / "config.properties").write_text(ADDRESSES)
    started = torchserve(home, "--start", "--model-store", ".", "--ncs", temp=tmp_path)
    assert started.returncode == 0, started.stdout
    stopped = torchserve(elsewhere, "--stop", "--foreground", temp=tmp_path)
    assert stopped.returncode == 0
    assert not (home / "key_file.json").exists()
    assert (elsewhere / "key_file.json").exists()
