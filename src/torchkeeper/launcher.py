"""Starting the server detached, and stopping it: the pid file and the wait for life or death.

Source of texts and exit codes: TorchServe's command line. Unlike TorchServe's, the launcher waits until the
server listens or has died, and says which.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from torchkeeper import MMS_NAMESPACE, TS_NAMESPACE
from torchkeeper.keys.key_file import NAME as KEY_FILE
from torchkeeper.machine.signals import end_signals

#: What a process's command line must contain to be taken for our server: a mark or, where a program calls it,
#: the package or the command.
MARKS, PACKAGE, COMMAND = {TS_NAMESPACE, MMS_NAMESPACE}, "torchkeeper", "torchserve"
#: Seconds that `--stop --foreground` waits, TorchServe's.
STOP_WAIT = 60.0
STOPPED_EARLY = "TorchServe was stopped before it had started."


def pid_file() -> Path:
    """Where the server's process id is kept (TMPDIR moves it)."""
    return Path(tempfile.gettempdir()) / ".model_server.pid"


def running_server() -> psutil.Process | None:
    """The server that the pid file names, if it still is ours; a stale file is removed, and that is said."""
    try:
        path = pid_file()
        pid = int(path.read_text())
    except FileNotFoundError:  # also when there is no temporary folder at all
        return None
    except (ValueError, OSError):
        pid = -1
    if pid == os.getpid():  # a container's first process has the same number after each restart
        path.unlink(missing_ok=True)
        return None
    try:
        process = psutil.Process(pid)
        line = process.cmdline()
        called = any(PACKAGE in part or Path(part).name == COMMAND for part in line)
        ours = called or not MARKS.isdisjoint(line)
        if ours and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except (psutil.Error, ValueError):
        pass
    print("Removing orphan pid file.")
    path.unlink(missing_ok=True)
    return None


def start_detached(command: Sequence[str]) -> int:
    """Starts the server in a session of its own and waits until it is ready or dead; returns the exit code.

    The command gets `--ready-fd N` appended: it writes there when its listeners are bound. A signal that
    comes while this waits ends the server, too.
    """
    ready_read, ready_write = os.pipe()
    child = subprocess.Popen(
        [*command, "--ready-fd", str(ready_write)],
        stdin=subprocess.DEVNULL,
        pass_fds=(ready_write,),
        start_new_session=True,
    )
    os.close(ready_write)
    try:
        _write_pid(child.pid)  # from now on --stop finds it
    except OSError as error:
        print(f"torchserve --stop will not find the server: {error}", file=sys.stderr)
    try:
        with os.fdopen(ready_read, "rb") as pipe, _interruptible():
            ready = pipe.read(1)
    except _Interrupted as signalled:
        child.terminate()
        child.wait()
        _remove_pid(child.pid)
        print(STOPPED_EARLY)
        return 128 + signalled.number
    if ready:
        child.returncode = 0  # it lives on without us; nobody waits for it here
        return 0
    code = child.wait()
    _remove_pid(child.pid)
    if code in (0, -signal.SIGTERM):
        print(STOPPED_EARLY)
        return 1
    why = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    print(f"TorchServe failed to start ({why}); the reason is above.", file=sys.stderr)
    return 1


class _Interrupted(BaseException):
    """A signal came while the launcher waited."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raises `_Interrupted` at the first signal that asks for the end; what comes later changes nothing."""
    numbers = end_signals()

    def interrupt(number: int, frame: object) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise _Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def found_by_stop() -> Iterator[None]:
    """This process is the server that `torchserve --stop` ends; where no file can be made, it is not."""
    with contextlib.suppress(OSError):
        _write_pid(os.getpid())
    try:
        yield
    finally:
        _remove_pid(os.getpid())


def _write_pid(pid: int) -> None:
    pid_file().write_text(str(pid))


def _remove_pid(pid: int) -> None:
    """Removes the pid file, unless it is another server's by now."""
    with contextlib.suppress(OSError):
        if pid_file().read_text() == str(pid):
            pid_file().unlink()


def stop(*, wait: bool) -> int:
    """Ends the running server with SIGTERM; with `wait` returns when it is gone. The exit code is 0."""
    process = running_server()
    if process is None:
        print("TorchServe is not currently running.")
        return 0
    key_file = _key_file_of(process)
    try:
        process.terminate()
    except psutil.NoSuchProcess:
        print("TorchServe already stopped.")
        pid_file().unlink(missing_ok=True)
        return 0
    if wait:
        try:
            process.wait(STOP_WAIT)
        except psutil.TimeoutExpired:
            print("Stopping TorchServe took too long.")
    else:
        print("TorchServe has stopped.")
    pid_file().unlink(missing_ok=True)
    if key_file is not None:
        with contextlib.suppress(OSError):
            key_file.unlink(missing_ok=True)
    return 0


def _key_file_of(process: psutil.Process) -> Path | None:
    """The key file in the server's own working folder, wherever this command was called from.

    The server removes it too, at the end of its life; here it goes at once, as with TorchServe.
    """
    try:
        folder = process.cwd()
    except psutil.Error:
        return None
    return Path(folder) / KEY_FILE if folder else None
