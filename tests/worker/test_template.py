"""The template in a process of its own, with nothing heavy to import: it forks, and reports how forks end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from stand_in_outbox import request  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    Exited,
    Fork,
    Forked,
    Load,
    Loaded,
    Message,
    Replies,
    Stop,
    TemplateReady,
    decode_replies,
    encode,
    encode_batch,
)
from torchkeeper.wire.messages import ModelSpec, Reply
from torchkeeper.worker.life_pipe import EXIT_ORPHANED
from workers import light_environ

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers")


@dataclass
class End:
    """The front's end of a socket: frames out and in."""

    sock: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)
    waiting: list[tuple[Message, bytes]] = field(default_factory=list)

    def next(self) -> tuple[Message, bytes]:
        while not self.waiting:
            data = self.sock.recv(1 << 16)
            assert data, "the other side has left"
            self.waiting += self.reader.feed(data)
        return self.waiting.pop(0)


@dataclass
class Worker:
    """A forked worker as the front holds it."""

    channel: End
    out: int
    life: int
    pid: int = 0

    def printed(self) -> bytes:
        """All that it has printed, once it is gone."""
        with os.fdopen(os.dup(self.out), "rb") as file:
            return file.read()


def ended(template: Template) -> tuple[int, int]:
    """Who has ended and how, as the template says; it says, too, how much memory was held."""
    message, _ = template.end.next()
    assert isinstance(message, Exited)
    assert message.peak_rss > 1_000_000
    return message.pid, message.returncode


class Template:
    """A template that is ready."""

    def __init__(self, folder: Path, **stubs: str) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        self.end = End(ours)
        self._workers: list[Worker] = []
        self._count = 0
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "torchkeeper.worker.template"),
                    *("--socket", str(theirs.fileno()), "--parent", str(os.getpid())),
                ],
                pass_fds=(theirs.fileno(),),
                env=light_environ(folder / "light", **stubs),
                start_new_session=True,
            )
        self.ready = self.end.next()[0]

    def order(self) -> tuple[bytes, list[int], Worker]:
        """A frame and descriptors that ask for a worker, and what the front keeps."""
        self._count += 1
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        (out, worker_out), (worker_life, life) = os.pipe(), os.pipe()
        handed = [theirs.detach(), worker_out, os.dup(worker_out), worker_life, os.dup(worker_out)]
        worker = Worker(End(ours), out, life)
        self._workers.append(worker)
        return encode(Fork(self._count, "w-title")), handed, worker

    def fork(self, count: int = 1) -> list[Worker]:
        """Asks for workers, all at once."""
        orders = [self.order() for _ in range(count)]
        for frame, handed, _ in orders:
            socket.send_fds(self.end.sock, [frame], handed)
            for fd in handed:
                os.close(fd)
        forks = [fork for _, _, fork in orders]
        for place, fork in enumerate(forks):
            message, _ = self.end.next()
            assert isinstance(message, Forked)
            assert message.worker_id == self._count - count + 1 + place
            fork.pid = message.pid
        return forks

    def close(self) -> None:
        self.end.sock.close()
        assert self.process.wait(60) == 0, "it leaves with its front"
        self.let_go()

    def let_go(self) -> None:
        """Closes all that the front has of its workers."""
        for worker in self._workers:
            worker.channel.sock.close()
            os.close(worker.out)
            os.close(worker.life)


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Template]:
    template = Template(tmp_path)
    yield template
    template.close()


def spec_of(folder: Path, source: str) -> ModelSpec:
    (folder / "h.py").write_text(source)
    return ModelSpec("m", "1.0", str(folder), {}, "h.py", None, None, 4, None)


def test_it_says_what_it_could_not_import(template: Template) -> None:
    assert isinstance(template.ready, TemplateReady)
    assert template.ready.pid == template.process.pid
    assert "workers start without numpy: left out" in template.ready.warnings


def test_a_library_that_is_broken_costs_no_worker(tmp_path: Path) -> None:
    template = Template(tmp_path, torch="raise OSError('libcudart.so: cannot open shared object file')\n")
    assert isinstance(template.ready, TemplateReady)
    assert (
        "workers start without torch: libcudart.so: cannot open shared object file" in template.ready.warnings
    )
    assert template.fork()
    template.close()


def test_it_says_that_an_import_has_left_a_thread(tmp_path: Path) -> None:
    source = "import threading, time\nthreading.Thread(target=time.sleep, args=(999,), daemon=True).start()\n"
    template = Template(tmp_path, PIL=source)
    assert isinstance(template.ready, TemplateReady)
    assert "the template has 2 threads after its imports; forked workers may hang" in template.ready.warnings
    template.close()


def test_garbage_of_its_imports_is_gone_before_all_else_is_kept_from_collections(tmp_path: Path) -> None:
    makes = (
        "class Ring:\n    def __del__(self):\n        print('gone', flush=True)\n"
        "ring = Ring()\nring.self = ring\ndel ring\n"
    )
    asks = (
        "import gc\nfrom torchkeeper.worker.template import import_shared\n"
        "before = gc.get_threshold()\nimport_shared()\n"
        "print(gc.isenabled(), gc.get_threshold() == before, gc.get_freeze_count() > 1000, flush=True)\n"
        "gc.set_threshold(0)\n"
    )
    environ = light_environ(tmp_path / "light", numpy=makes)
    done = subprocess.run(
        [sys.executable, "-c", asks], env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.splitlines(), done.stderr) == (["gone", "True True True"], "")


def test_a_fork_is_a_worker_with_a_channel_a_log_and_a_name_of_its_own(
    template: Template, tmp_path: Path
) -> None:
    (fork,) = template.fork()
    source = "print('loads')\ndef handle(data, context):\n    return data and [row['body'] for row in data]\n"
    fork.channel.sock.sendall(encode(Load(spec_of(tmp_path, source), 1000)))
    message, _ = fork.channel.next()
    assert isinstance(message, Loaded)
    assert message.pid == fork.pid
    worker = psutil.Process(fork.pid)
    assert worker.name() == "w-title"
    assert (worker.ppid(), os.getsid(fork.pid)) == (template.process.pid, fork.pid)
    fork.channel.sock.sendall(encode_batch(1, [request(b"x")]))
    replies, raw = fork.channel.next()
    assert isinstance(replies, Replies)
    (reply,) = decode_replies(replies.replies, raw)
    assert isinstance(reply, Reply)
    assert reply.body == b"x"
    fork.channel.sock.sendall(encode(Stop()))
    assert ended(template) == (fork.pid, 0)
    assert fork.printed() == b"loads\n"


def test_forks_share_no_descriptors_and_no_random_numbers(template: Template, tmp_path: Path) -> None:
    source = """
import os, random, signal

print(len(os.listdir('/proc/self/fd')), flush=True)
handlers = [repr(signal.getsignal(each)) for each in (signal.SIGTERM, signal.SIGCHLD)]
print(random.random(), handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True)

def handle(data, context):
    return data
"""
    spec = spec_of(tmp_path, source)
    printed = []
    for fork in template.fork(3):
        fork.channel.sock.sendall(encode(Load(spec, 1000)) + encode(Stop()))
        assert ended(template) == (fork.pid, 0)
        printed.append(fork.printed().decode().splitlines())
    assert len({count for count, _ in printed}) == 1, "those of the others are closed"
    assert len({line.split()[0] for _, line in printed}) == 3
    assert all(line.count("Handlers.SIG_DFL") == 2 and line.endswith("set()") for _, line in printed)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_each_end_is_reported_with_its_signal(template: Template, sign: signal.Signals) -> None:
    first, second = template.fork(2)
    for fork in (second, first):
        os.kill(fork.pid, sign)
        code = 1 if sign == signal.SIGINT else -sign  # Python makes an exception of that one
        assert ended(template) == (fork.pid, code), "also while it is only being made"


def test_what_a_worker_has_started_goes_with_it(template: Template, tmp_path: Path) -> None:
    source = (
        "import subprocess\nprint(subprocess.Popen(['sleep', '999']).pid, flush=True)\nraise ValueError\n"
    )
    (fork,) = template.fork()
    fork.channel.sock.sendall(encode(Load(spec_of(tmp_path, source), 1000)))
    assert ended(template) == (fork.pid, 3)
    child = int(fork.printed().split()[0])
    deadline = time.monotonic() + 20
    while runs(child):
        assert time.monotonic() < deadline


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_terminals_signals_do_not_reach_it(template: Template) -> None:
    for sign in (signal.SIGINT, signal.SIGTERM):
        os.kill(template.process.pid, sign)
    assert template.fork()


def test_workers_outlive_it(tmp_path: Path) -> None:
    template = Template(tmp_path)
    (fork,) = template.fork()
    template.process.kill()
    template.process.wait()
    source = "def handle(data, context):\n    return data\n"
    fork.channel.sock.sendall(encode(Load(spec_of(tmp_path, source), 1000)))
    assert isinstance(fork.channel.next()[0], Loaded)
    fork.channel.sock.close()  # it leaves with its front
    assert fork.printed() == b""
    template.end.sock.close()
    template.let_go()


def test_it_leaves_where_its_parent_is_another_one_already(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = (sys.executable, "-m", "torchkeeper.worker.template")
        done = subprocess.run(
            [*command, "--socket", str(theirs.fileno()), "--parent", "1"],
            pass_fds=(theirs.fileno(),),
            env=light_environ(tmp_path / "light"),
            timeout=60,
        )
        assert done.returncode == EXIT_ORPHANED
