"""The Docker files: the entry script run for real, the Dockerfile held to a linter's basic rules."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from torchkeeper.config.settings import CommandLine, load_settings

DOCKER = Path(__file__).parents[1] / "docker"
SCRIPT = DOCKER / "dockerd-entrypoint.sh"
#: Where the commands under test are found first.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
#: Instructions with their continuation lines joined.
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text()).splitlines()
    if line.strip() and not line.startswith("#")
]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


# --- the entry script --------------------------------------------------------------------------------------


def home(folder: Path) -> dict[str, str]:
    """A home like the image's, on free ports, and the environment that belongs to it."""
    for name in ("model-store", "tmp"):
        (folder / name).mkdir()
    lines = [f"{name}_address=http://127.0.0.1:0\n" for name in ("inference", "management", "metrics")]
    (folder / "config.properties").write_text("".join(lines) + f"model_store={folder / 'model-store'}\n")
    temp = str(folder / "tmp")
    return {**os.environ, "HOME": str(folder), "TEMP": temp, "TMPDIR": temp, "PATH": PATH}


def enter(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOME": str(folder), "PATH": PATH, "TMPDIR": str(folder)}
    return subprocess.run(
        ["bash", SCRIPT, *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("torchserve", "--start", "--ts-config", "config.properties", "--ncs"),
        ("torchserve --start --ts-config $HOME/config.properties",),
        ("torchserve --start --ts-config 'config.properties'",),
        ("torchserve", "--start", "--ts-config", "$HOME/config.properties"),
        ("ls", "config.properties", ";", "torchserve", "--start", "--ts-config", "config.properties"),
        ("torchserve --start --ts-config config.properties && tail -f --pid=$(cat tmp/*.pid) /dev/null",),
        ("./start.sh",),
        ("bash", "start.sh"),
        ("/bin/sh", "-c", "torchserve --start --ts-config config.properties"),
        ("./start.sh", "exec", "sleep", "600"),
    ],
    ids=[
        *("serve", "torchserve", "a line with a variable", "a line with quotes"),
        *("words with a variable", "words of two commands", "a line that goes on"),
        *("a script", "a script and its shell", "the shell form", "a script that goes on"),
    ],
)
def test_the_server_stays_in_the_foreground_and_gets_the_signals(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    script = tmp_path / "start.sh"
    script.write_text('#!/bin/bash\ntorchserve --start --ts-config config.properties\n"$@"\n')
    script.chmod(0o755)
    with subprocess.Popen(
        ["bash", SCRIPT, *arguments], cwd=tmp_path, env=home(tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port, said = "", ""
        while "Model server started." not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
            if match := re.search(r"Inference API bind to: .* \(port (\d+)\)", line):
                port = match[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=10) as answer:
            assert json.load(answer) == {"status": "Healthy"}
        process.send_signal(signal.SIGTERM)
        assert "Torchserve stopped." in process.stdout.read()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("echo", "$HOME/a", "'*'", "two   words"), "{home}/a * two words\n"),
        (("echo", "one", ";", "echo", "$((1 + 1))"), "one\n2\n"),
        (("A=1 printenv A",), "1\n"),
        (("bash", "-c", "echo '*'  more"), "* more\n"),
        (("/bin/sh", "-c", "echo '*'  more"), "* more\n"),
        (("echo one 'two  words'",), "one two  words\n"),
        (("echo $HOME && echo more",), "{home}\nmore\n"),
        (("pwd",), "{home}\n"),
        (("torchserve", "--version"), "TorchServe Version is 0.12.0\n"),
        (("torchserve --version",), "TorchServe Version is 0.12.0\n"),
    ],
)
def test_anything_else_is_a_command(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = enter(tmp_path, *arguments)
    assert (done.stdout, done.returncode) == (said.format(home=tmp_path), 0)


def test_the_exit_code_is_the_commands(tmp_path: Path) -> None:
    assert enter(tmp_path, "bash", "-c", "exit 7").returncode == 7
    assert enter(tmp_path, "no-such-command").returncode == 127
    assert enter(tmp_path, "false; true").returncode == 1
    assert enter(tmp_path, "ls /no-such-folder", ";", "echo", "more").stdout == ""
    refused = enter(tmp_path, "serve")
    assert refused.returncode == 1
    assert f"--ts-config file not found: {tmp_path}/config.properties" in refused.stdout


def test_a_command_gets_the_signals_and_ends_in_its_own_time(tmp_path: Path) -> None:
    own = "import signal; print('up', flush=True); signal.sigwait({signal.SIGTERM}); print('done'); exit(7)"
    mask = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); "
    (tmp_path / "own.py").write_text(mask + own)
    environ = {**os.environ, "HOME": str(tmp_path), "PATH": PATH, "TMPDIR": str(tmp_path)}
    arguments = ["bash", SCRIPT, sys.executable, "own.py"]
    with subprocess.Popen(arguments, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert "done" in process.stdout.read()
    assert process.returncode == 7


def test_the_words_after_serve_are_taken_as_they_are(tmp_path: Path) -> None:
    refused = enter(tmp_path, "serve", "--ready-fd", "$HOME;(1)")
    assert (refused.returncode, "invalid int value: '$HOME;(1)'" in refused.stderr) == (2, True)


def test_the_script_is_executable_bash() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text().startswith("#!/bin/bash\n")
    assert subprocess.run(["bash", "-n", SCRIPT]).returncode == 0


# --- the image's files -------------------------------------------------------------------------------------


def test_the_configuration_is_torchserves(tmp_path: Path) -> None:
    settings, warnings = load_settings(CommandLine(ts_config=DOCKER / "config.properties"), {}, tmp_path)
    assert not [warning for warning in warnings if "unknown key" in warning]
    addresses = [getattr(settings, f"{name}_address") for name in ("inference", "management", "metrics")]
    assert [str(address) for address in addresses] == [f"http://0.0.0.0:808{number}" for number in range(3)]
    assert settings.job_queue_size == 1000
    assert settings.model_store == Path("/home/model-server/model-store")


def test_the_base_is_a_slim_python_of_a_fixed_version() -> None:
    assert arguments("FROM") == ["python:3.11-slim"]
    assert not arguments("ADD"), "COPY says what it does"


def test_the_container_runs_as_an_ordinary_user_at_home() -> None:
    assert arguments("USER")[-1] == "model-server"
    assert arguments("WORKDIR")[-1] == "/home/model-server"
    (environ,) = arguments("ENV")
    assert "HOME=/home/model-server" in environ.split()
    assert "TEMP=/home/model-server/tmp" in environ.split()
    assert "PATH=/home/venv/bin:" in environ
    assert not re.search(r"\b(sudo|jdk|java)\b", (DOCKER / "Dockerfile").read_text())


def test_commands_are_in_exec_form_and_the_ports_torchserves() -> None:
    assert [json.loads(rest) for rest in arguments("ENTRYPOINT")] == [["dockerd-entrypoint.sh"]]
    assert [json.loads(rest) for rest in arguments("CMD")] == [["serve"]]
    assert arguments("EXPOSE") == ["8080 8081 8082 7070 7071"]


def test_package_managers_leave_nothing_behind() -> None:
    for command in arguments("RUN"):
        for _ in re.findall(r"pip install", command):
            assert command.count("--no-cache-dir") == command.count("pip install")
        if "apt-get" in command:
            assert "--no-install-recommends" in command
            assert "rm -rf /var/lib/apt/lists/*" in command


def test_the_health_check_asks_ping_without_other_tools(tmp_path: Path) -> None:
    (rest,) = arguments("HEALTHCHECK")
    python, flag, code = json.loads(rest.partition("CMD ")[2])
    assert (python, flag) == ("python", "-c")
    assert "http://127.0.0.1:8080/ping" in code
    closed = code.replace(":8080", ":1")
    assert subprocess.run([sys.executable, "-c", closed], stderr=subprocess.DEVNULL).returncode == 1


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    root = DOCKER.parent
    allowed = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for rest in arguments("COPY"):
        *sources, _ = [part for part in rest.split() if not part.startswith("--")]
        for source in sources:
            assert (root / source).exists()
            assert source in allowed or source.split("/")[0] in allowed
