"""A handler that tries to get out of its sandbox: each attempt is a function, which returns what it could do.

The file itself is the handler of a model. A request says where to make them, {"places": {...}}; the answer
says of each what it brought, or the error that kept it from that.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Places = dict[str, Any]
libc = ctypes.CDLL(None, use_errno=True)
#: Numbers of system calls on x86_64 and aarch64.
NUMBERS = {
    "process_vm_readv": (310, 270),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
}
PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def syscall(name: str, *arguments: Any) -> int:
    number = NUMBERS[name][platform.machine() == "aarch64"]
    words = [word if not isinstance(word, int) else ctypes.c_long(word) for word in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *words))


def read(path: str | Path) -> str:
    return Path(path).read_text(errors="replace")[:40] or "empty"


# --- files -----------------------------------------------------------------------------------------------


def read_the_key_file(places: Places) -> object:
    return read(places["key_file"])


def read_a_file_of_the_same_user(places: Places) -> object:
    return read(places["private"])


def read_the_configuration(places: Places) -> object:
    return read(places["config"])


def write_the_configuration(places: Places) -> object:
    with open(places["config"], "a") as file:
        return file.write("\n")


def write_the_model_store(places: Places) -> object:
    return Path(places["store"], "planted.mar").write_text("x")


def open_the_key_file_to_all(places: Places) -> object:
    before = os.stat(places["key_file"]).st_mode
    os.chmod(places["key_file"], 0o644)
    if os.stat(places["key_file"]).st_mode == before:
        raise PermissionError("nothing has changed")
    os.chmod(places["key_file"], before)
    return "opened"


def rename_in_the_model_store(places: Places) -> object:
    os.rename(places["archive"], places["archive"] + ".gone")
    return os.rename(places["archive"] + ".gone", places["archive"])


def read_another_models_folder(places: Places) -> object:
    return os.listdir(places["other_model"])


def write_another_models_folder(places: Places) -> object:
    return Path(places["other_model"], "planted.py").write_text("x")


def write_a_start_up_file_of_the_user(places: Places) -> object:
    with open(Path(places["home"], ".bashrc"), "a") as file:
        return file.write("\n")


def write_the_temporary_folder_of_all(places: Places) -> object:
    return Path(places["temp"], "planted").write_text("x")


def write_shared_memory(places: Places) -> object:
    path = Path("/dev/shm/torchkeeper-escape")
    path.write_text("x")
    path.unlink()
    return "written"


def follow_a_link_to_the_key_file(places: Places) -> object:
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "link")
        link.symlink_to(places["key_file"])
        return read(link)


def link_the_key_file_here(places: Places) -> object:
    with tempfile.TemporaryDirectory(dir=places.get("here")) as folder:
        os.link(places["key_file"], Path(folder, "hard"))
        return read(Path(folder, "hard"))


def go_through_the_root_of_this_process(places: Places) -> object:
    return read(f"/proc/self/root{places['key_file']}")


def go_through_the_root_of_the_server(places: Places) -> object:
    return read(f"/proc/{places['server']}/root{places['key_file']}")


def run_another_program(places: Places) -> object:
    return subprocess.run(["/bin/sh", "-c", "echo out"], capture_output=True, check=True).stdout.decode()


# --- other processes -------------------------------------------------------------------------------------


def read_the_servers_environment(places: Places) -> object:
    return read(f"/proc/{places['server']}/environ")


def read_another_workers_memory(places: Places) -> object:
    with (
        open(f"/proc/{places['other_worker']}/maps") as maps,
        open(f"/proc/{places['other_worker']}/mem", "rb") as memory,
    ):
        memory.seek(int(maps.readline().split("-")[0], 16))
        return len(memory.read(16))


def trace_the_server(places: Places) -> object:
    checked(libc.ptrace(PTRACE_SEIZE, places["server"], None, None))
    libc.kill(places["server"], signal.SIGWINCH)  # what is seized stops at a signal, and can then be left
    with contextlib.suppress(ChildProcessError):
        os.waitpid(places["server"], getattr(os, "__WALL", 0x40000000))
    libc.ptrace(PTRACE_DETACH, places["server"], None, None)
    return "traced"


def read_the_servers_memory(places: Places) -> object:
    class Piece(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    buffer = ctypes.create_string_buffer(16)
    ours = Piece(ctypes.cast(buffer, ctypes.c_void_p), 16)
    theirs = Piece(places["address"], 16)
    pointers = ctypes.byref(ours), ctypes.c_long(1), ctypes.byref(theirs)
    return syscall("process_vm_readv", places["server"], *pointers, 1, 0)


def take_a_descriptor_of_the_server(places: Places) -> object:
    descriptor = os.pidfd_open(places["server"])
    taken = syscall("pidfd_getfd", descriptor, 1, 0)
    os.close(taken)
    os.close(descriptor)
    return "taken"


def signal_the_server(places: Places) -> object:
    return os.kill(places["server"], signal.SIGWINCH)  # which does nothing to it


def bound_the_server(places: Places) -> object:
    return resource.prlimit(places["server"], resource.RLIMIT_CORE)


# --- the network -----------------------------------------------------------------------------------------


def connect_by_tcp(places: Places) -> object:
    return socket.create_connection(("127.0.0.1", places["port"]), timeout=10).close()


def listen_on_a_port(places: Places) -> object:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def send_by_udp(places: Places) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"out", ("127.0.0.1", places["port"]))


def connect_to_an_abstract_socket(places: Places) -> object:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect("\0" + places["abstract"])


def connect_to_a_socket_of_the_file_system(places: Places) -> object:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect(places["socket"])


def open_a_raw_socket(places: Places) -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


# --- the kernel ------------------------------------------------------------------------------------------


def mount(places: Places) -> object:
    checked(libc.mount(b"none", os.fsencode(places["temp"]), b"tmpfs", 0, None))
    return libc.umount(os.fsencode(places["temp"]))


def make_a_user_namespace(places: Places) -> object:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return checked(0) if code == 0 else _fail(code)


def _fail(number: int) -> object:
    raise OSError(number, os.strerror(number))


def make_a_userfaultfd(places: Places) -> object:
    return os.close(syscall("userfaultfd", 1))  # user mode only


def ask_for_a_keyring(places: Places) -> object:
    return syscall("keyctl", 0, -3, 1)  # the session's, made if there is none


def load_a_bpf_program(places: Places) -> object:
    attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)  # an array of one number
    return os.close(syscall("bpf", 0, ctypes.byref(attributes), ctypes.sizeof(attributes)))


def make_an_io_uring(places: Places) -> object:
    return os.close(syscall("io_uring_setup", 1, ctypes.byref(ctypes.create_string_buffer(256))))


def become_another_user(places: Places) -> object:
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(12345, 12345, 12345)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "another" if code == 0 else _fail(code)


def dump_core(places: Places) -> object:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        raise PermissionError("no core is dumped, nor can be")
    return hard


# --- secrets ---------------------------------------------------------------------------------------------


def read_secrets_in_the_environment(places: Places) -> object:
    block = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    found = [name for name in (*os.environ, *block) if "SECRET" in name]
    if not found:
        raise PermissionError("there are none")
    return found


ATTEMPTS: dict[str, Callable[[Places], object]] = {
    each.__name__: each
    for each in (
        *(read_the_key_file, read_a_file_of_the_same_user, read_the_configuration, write_the_configuration),
        *(open_the_key_file_to_all, write_the_model_store, rename_in_the_model_store),
        read_another_models_folder,
        *(write_another_models_folder, write_a_start_up_file_of_the_user, write_the_temporary_folder_of_all),
        *(write_shared_memory, follow_a_link_to_the_key_file, link_the_key_file_here),
        *(go_through_the_root_of_this_process, go_through_the_root_of_the_server, run_another_program),
        *(read_the_servers_environment, read_another_workers_memory, trace_the_server),
        *(read_the_servers_memory, take_a_descriptor_of_the_server, signal_the_server, bound_the_server),
        *(connect_by_tcp, listen_on_a_port, send_by_udp, connect_to_an_abstract_socket),
        *(connect_to_a_socket_of_the_file_system, open_a_raw_socket),
        *(mount, make_a_user_namespace, make_a_userfaultfd, ask_for_a_keyring, load_a_bpf_program),
        *(make_an_io_uring, become_another_user, dump_core, read_secrets_in_the_environment),
    )
}


def tried(places: Places, names: list[str] | None = None) -> dict[str, list[Any]]:
    """What became of each attempt: [whether it succeeded, what it brought or why not]."""
    found = {}
    for name in names or ATTEMPTS:
        try:
            found[name] = [True, repr(ATTEMPTS[name](places))]
        except Exception as error:  # noqa: BLE001 - the kernel's no takes many forms
            found[name] = [False, repr(error)]
    return found


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """The model's entry point; it says of its process what /proc does, and makes the attempts."""
    if data is None:
        return None
    answers = []
    for row in data:
        asked = row["body"]
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        answers.append(
            {
                "pid": os.getpid(),
                "folder": os.getcwd(),
                "status": status,
                "variables": len(Path("/proc/self/environ").read_bytes().split(b"\0")) - 1,
                "environ": sorted(os.environ),
                "tried": tried(asked["places"]) if "places" in asked else {},
            }
        )
    return answers


if __name__ == "__main__":  # what this user can do without any server
    print(json.dumps(tried(json.loads(sys.argv[1]))))
