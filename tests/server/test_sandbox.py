"""The sandbox of workers on a real server: a handler that tries to get out, and ordinary ones that do not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import escapes
from servers import EXAMPLE, Server, eventually, make_archive, mnist_server
from torchkeeper.sandbox import landlock

ABI = landlock.version() if sys.platform == "linux" else 0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ABI < landlock.SCOPES_SINCE, reason=f"the kernel's Landlock has version {ABI}, not 6"),
]

LEVELS = ("strict", "default", "off")
#: What a worker can do neither by default. Root's workers keep what lets root use files of others.
NOT_BY_DEFAULT = {
    *("read_the_servers_environment", "read_another_workers_memory", "trace_the_server"),
    *("read_the_servers_memory", "take_a_descriptor_of_the_server", "signal_the_server"),
    *("go_through_the_root_of_the_server", "connect_to_an_abstract_socket", "dump_core"),
    *("mount", "become_another_user", "open_a_raw_socket", "load_a_bpf_program"),
}
#: And what is the server's user's alone.
NOT_AS_ANOTHER_USER = NOT_BY_DEFAULT | {
    *("read_the_key_file", "follow_a_link_to_the_key_file", "link_the_key_file_here"),
    *("go_through_the_root_of_this_process", "write_the_configuration", "write_the_model_store"),
    *(
        "open_the_key_file_to_all",
        "rename_in_the_model_store",
        "write_a_start_up_file_of_the_user",
        "bound_the_server",
    ),
}


def name_of(level: str, preload: bool) -> str:
    return f"{level}_{'forked' if preload else 'spawned'}"


class Prison:
    """A server with a model for each level and way to start, and what there is outside to reach for."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: object) -> None:
        store, home = folder / "model_store", folder / "home"
        store.mkdir()
        home.mkdir()
        (home / "private").write_text("private")
        source = Path(escapes.__file__).read_text()
        names = [(level, preload) for level in LEVELS for preload in (True, False)]
        for level, preload in names:
            config = f"minWorkers: 1\nsandbox: {level}\npreload: {str(preload).lower()}\n"
            config += "sandboxLimits: {nofile: 256}\n" if level == "strict" else ""
            make_archive(store, name_of(level, preload), source, config=config)
        make_archive(store, "other", source, config="minWorkers: 1\n")
        models = tuple(f"{name}={name}-1.0.mar" for name in (*(name_of(*each) for each in names), "other"))
        environ = {"HOME": str(home), "APP_SECRET": "s", "TS_MANAGEMENT_KEY_SECRET": "no variable of ours"}
        self.server = Server(folder, models, settings, (), environ=environ)
        keys = json.loads((folder / "key_file.json").read_text())
        self.server.client.headers["Authorization"] = f"Bearer {keys['inference']['key']}"
        self.server.manage.headers["Authorization"] = f"Bearer {keys['management']['key']}"
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract_name = f"torchkeeper-escape-{listener.getsockname()[1]}"
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{abstract_name}")
        abstract.listen()
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        named.bind(str(folder / "s"))
        named.listen()
        other = self.ask("other")
        server = self.server.process.pid
        self.environ = {**os.environ, **environ, "TMPDIR": str(self.server.temp)}
        self.places = {
            "server": server,
            "key_file": str(folder / "key_file.json"),
            "private": str(home / "private"),
            "config": str(folder / "config.properties"),
            "store": str(store),
            "archive": str(store / "other-1.0.mar"),
            "home": str(home),
            "temp": str(self.server.temp),
            "other_model": other["folder"],
            "other_worker": other["pid"],
            "address": int(Path(f"/proc/{server}/maps").read_text().split("-")[0], 16),
            "port": listener.getsockname()[1],
            "abstract": abstract_name,
            "socket": str(folder / "s"),
        }

    def ask(self, model: str, **asked: Any) -> dict[str, Any]:
        answer = self.server.client.post(f"/predictions/{model}", json=asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def tried(self, model: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = self.ask(model, places=self.places)["tried"]
        assert found.keys() == escapes.ATTEMPTS.keys()
        return found

    def free(self) -> set[str]:
        """What the user of this test can do who is in no sandbox."""
        done = subprocess.run(
            [sys.executable, escapes.__file__, json.dumps(self.places)],
            env=self.environ,
            capture_output=True,
            check=True,
        )
        return succeeded(json.loads(done.stdout))

    def described(self, model: str) -> dict[str, Any]:
        (version,) = self.server.manage.get(f"/models/{model}").json()
        found: dict[str, Any] = version["workers"][0]
        return found


def succeeded(tried: dict[str, list[Any]]) -> set[str]:
    return {name for name, (done, _) in tried.items() if done}


@pytest.fixture(scope="module")
def prison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prison]:
    with ExitStack() as stack:
        made = Prison(tmp_path_factory.mktemp("prison"), stack)
        yield made
        made.server.stop()


@pytest.mark.parametrize("preload", [True, False])
def test_nothing_succeeds_in_a_strict_sandbox(prison: Prison, preload: bool) -> None:
    tried = prison.tried(name_of("strict", preload))
    assert len(tried) >= 20
    assert not succeeded(tried), {name: tried[name] for name in succeeded(tried)}


@pytest.mark.parametrize("preload", [True, False])
def test_without_a_sandbox_a_handler_can_do_all_that_the_servers_user_can(
    prison: Prison, preload: bool
) -> None:
    free = prison.free()
    assert len(free) >= 20, "so the tests above can fail"
    assert succeeded(prison.tried(name_of("off", preload))) == free


@pytest.mark.parametrize("preload", [True, False])
def test_by_default_other_processes_and_privileges_are_out_of_reach_and_the_rest_is_not(
    prison: Prison, preload: bool
) -> None:
    assert succeeded(prison.tried(name_of("default", preload))) == prison.free() - NOT_BY_DEFAULT


def test_the_description_and_the_log_say_what_is_in_force(prison: Prison) -> None:
    strict, default, off = (prison.described(name_of(level, True)) for level in LEVELS)
    assert "sandbox" not in off
    told = {
        "level": "strict",
        "uid": os.getuid(),
        "gid": os.getgid(),
        "capabilities": 0,
        "noNewPrivileges": True,
        "seccomp": True,
        "limits": {"core": 0, "nofile": 256},
        "variables": strict["sandbox"]["variables"],
        "landlock": ABI,
        "network": "none",
    }
    assert strict["sandbox"] == told
    assert default["sandbox"]["level"] == "default"
    assert not default["sandbox"]["seccomp"]
    name = f"-{name_of('strict', True)}_1.0"
    said = prison.server.wait_for(rf"W-\d+{name}: sandbox strict: (.*)")[1]
    assert "capabilities 0, noNewPrivileges True, seccomp True" in said
    assert f"landlock {ABI}, network none" in said


@pytest.mark.parametrize("preload", [True, False])
def test_the_kernel_says_the_same_of_a_strict_worker(prison: Prison, preload: bool) -> None:
    found = prison.ask(name_of("strict", preload))
    status = found["status"]
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert found["variables"] <= 12
    assert len(found["environ"]) <= 12
    assert not [name for name in found["environ"] if "SECRET" in name]
    if os.geteuid() == 0:
        assert status["CapBnd"] == "0" * 16


def test_a_strict_workers_folder_goes_with_it(prison: Prison) -> None:
    model = name_of("strict", True)
    before = set(prison.server.temp.glob("torchkeeper-worker-*"))
    os.kill(prison.ask(model)["pid"], 9)
    assert prison.ask(model)["pid"]
    after = set(prison.server.temp.glob("torchkeeper-worker-*"))
    assert len(before - after) == len(after - before) == 1


ORDINARY = """
import multiprocessing, os, shutil, socket, subprocess, sys, tempfile, threading
from pathlib import Path

import torch
from torch.utils.data import DataLoader


def double(number):
    return 2 * number


def everything(home):
    Path("in_my_folder.txt").write_text("x")
    cache = Path(home, ".cache", "some", "model")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "part").write_text("x")
        os.replace(Path(folder, "part"), cache / "whole")
        os.link(cache / "whole", Path(folder, "link"))
        os.rename(Path(folder, "link"), "moved_here")
    assert Path("/etc/passwd").read_text()
    said = subprocess.run(["/bin/sh", "-c", "echo $HOME; kill -0 $$"], capture_output=True, check=True)
    assert said.stdout.decode().strip() == home
    for way in ("fork", "spawn"):
        with multiprocessing.get_context(way).Pool(2) as pool:
            assert pool.map(int, ["1", "2"]) == [1, 2]
    assert [int(each) for each in DataLoader(range(4), num_workers=2)] == [0, 1, 2, 3]
    shared = torch.zeros(3).share_memory_()
    child = multiprocessing.get_context("fork").Process(target=shared.fill_, args=(1,))
    child.start()
    child.join()
    assert shared.sum() == 3
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    sleeper.kill()
    assert sleeper.wait() == -9
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    ours = socket.socket(socket.AF_UNIX)
    ours.bind(chr(0) + f"torchkeeper-ordinary-{os.getpid()}")
    ours.listen()
    socket.socket(socket.AF_UNIX).connect(ours.getsockname())
    return "all of it"


def handle(data, context):
    return data and [everything(os.environ["HOME"]) for row in data]
"""


@pytest.mark.parametrize("preload", [True, False])
def test_an_ordinary_handler_notices_nothing(preload: bool) -> None:
    # Not pytest's own folder: what multiprocessing makes in there must have a path that a socket can have.
    with tempfile.TemporaryDirectory() as folder:
        (home := Path(folder, "home")).mkdir()
        (store := Path(folder, "model_store")).mkdir()
        config = f"minWorkers: 1\npreload: {str(preload).lower()}\n"
        make_archive(store, "ordinary", ORDINARY, config=config)
        server = Server(Path(folder), ("ordinary-1.0.mar",), {}, environ={"HOME": str(home)})
        answer = server.client.post("/predictions/ordinary", content=b"x")
        assert answer.text == "all of it", server.output
        server.stop()


@pytest.mark.parametrize("preload", [True, False])
def test_a_real_model_is_served_and_explained_in_a_strict_sandbox(tmp_path: Path, preload: bool) -> None:
    server = mnist_server(tmp_path, f"minWorkers: 1\npreload: {str(preload).lower()}\n", sandbox="strict")
    digit = (EXAMPLE / "test_data" / "3.png").read_bytes()
    assert server.client.post("/predictions/mnist", content=digit).text == "3"
    explained = server.client.post("/explanations/mnist_explain", content=digit)
    assert explained.status_code == 200, server.output
    assert "lacking" not in server.manage.get("/models/mnist").json()[0]["workers"][0]["sandbox"]
    server.stop()


def readable_by_others(path: str) -> bool:
    whole = Path(path).resolve()
    return bool(whole.stat().st_mode & 0o004) and all(one.stat().st_mode & 0o001 for one in whole.parents)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has workers of another user")
@pytest.mark.skipif(
    not all(map(readable_by_others, (os.__file__, escapes.__file__, str(EXAMPLE)))),
    reason="this Python, or this checkout, is not readable for other users",
)
@pytest.mark.parametrize("level", ["strict", "default"])
def test_under_root_workers_are_another_user(level: str) -> None:
    with tempfile.TemporaryDirectory() as named, ExitStack() as stack:
        folder = Path(named)
        folder.chmod(0o711)
        prison = Prison(folder, stack, sandbox=level, worker_user="54321:54322")
        for preload in (True, False):
            found = prison.ask(name_of(level, preload))
            status = found["status"]
            assert status["Uid"].split() == ["54321"] * 4
            assert status["Gid"].split() == ["54322"] * 4
            assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} <= {"0" * 16}
            tried = prison.tried(name_of(level, preload))
            assert not succeeded(tried) & (NOT_AS_ANOTHER_USER if level == "default" else tried.keys())
        prison.server.stop()


SIBLINGS = """
import os

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        for pid in row["body"].get("others", ()):
            for path in ("environ", "maps"):
                try:
                    open(f"/proc/{pid}/{path}").read()
                    raise AssertionError(f"{path} can be read")
                except PermissionError:
                    pass
            try:
                os.kill(pid, 0)
                raise AssertionError("it can be sent signals")
            except PermissionError:
                pass
        answers.append(str(os.getpid()))
    return answers
"""


def test_workers_that_share_an_import_are_as_far_from_each_other_as_any(tmp_path: Path) -> None:
    (store := tmp_path / "model_store").mkdir()
    make_archive(store, "m", SIBLINGS, config="minWorkers: 2\n")
    server = Server(tmp_path, ("m=m-1.0.mar",), {})

    def described() -> dict[str, Any]:
        (version,) = server.manage.get("/models/m").json()
        found: dict[str, Any] = version
        return found

    eventually(lambda: [one["status"] for one in described()["workers"]] == ["READY"] * 2)
    pids = {one["pid"] for one in described()["workers"]}
    asked = int(server.client.post("/predictions/m", json={}).text)
    others = [*(pids - {asked}), described()["imports"]["pid"]]
    answer = server.client.post("/predictions/m", json={"others": others})
    assert (answer.status_code, answer.text) == (200, str(asked))
    server.stop()
