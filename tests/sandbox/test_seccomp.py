"""Filters of system calls: their instructions run by a small machine here, and one by the kernel."""

from __future__ import annotations

import errno
import socket
import struct
import sys

import pytest
from children import in_child, outcome  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.sandbox.privileges import no_new_privileges, status
from torchkeeper.sandbox.seccomp import MACHINES, Machine, install, program

ALLOWED = 0x7FFF0000
UNIX, INET, STREAM, RAW, PACKET = 1, 2, 1, 3, 10
NEW_USERS, THREAD = 0x10000000, 0x003D0F00


#: A call that returns 0 and is none.
DONE = -1


def judge(instructions: bytes, machine: int, number: int, *arguments: int) -> int:
    """What a filter says of a call: 0 if it is allowed, else its error."""
    data = struct.pack("<IIQ6Q", number, machine, 0, *arguments, *(0,) * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", instructions))
    place = held = 0
    while True:
        code, then, otherwise, operand = steps[place]
        place += 1
        if code == 0x06:
            return 0 if operand == ALLOWED else operand & 0xFFFF or DONE
        if code == 0x20:
            (held,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            held &= operand
        else:
            holds = {0x15: held == operand, 0x35: held >= operand, 0x45: bool(held & operand)}[code]
            place += then if holds else otherwise


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def test_what_no_model_needs_is_denied_and_the_rest_is_not(machine: Machine) -> None:
    strict = program(machine, (UNIX,), deny=True)
    for name, number in machine.denied.items():
        assert judge(strict, machine.audit, number) == errno.EPERM, name
    for number in machine.unsupported.values():
        assert judge(strict, machine.audit, number) == errno.EOPNOTSUPP
    for number in machine.passed_over.values():
        assert judge(strict, machine.audit, number) == DONE, "nothing happens, and no error"
    known = {*machine.denied.values(), *machine.passed_over.values(), *machine.unsupported.values()}
    known |= {*machine.io_uring, machine.socket, machine.clone3}
    for number in set(range(480)) - known:
        assert judge(strict, machine.audit, number) == 0, number
    for number in machine.io_uring:
        assert judge(strict, machine.audit, number) == errno.EPERM


def test_a_filter_of_sockets_alone_denies_nothing_else_but_the_way_around_it(machine: Machine) -> None:
    free = program(machine, (UNIX,), deny=False)
    denied = {number for number in range(480) if judge(free, machine.audit, number)}
    assert denied == {machine.socket, *machine.io_uring}, "a socket of family 0 is one of none"
    assert judge(free, machine.audit, machine.clone, NEW_USERS) == 0


def test_sockets_are_those_of_the_families_and_none_sees_packets_of_others(machine: Machine) -> None:
    for families in ((), (UNIX,), (UNIX, INET)):
        instructions = program(machine, families, deny=True)
        for family in (UNIX, INET, 10, 16, 17, 40):
            for kind in (STREAM, STREAM | socket.SOCK_CLOEXEC, 2, RAW, RAW | socket.SOCK_NONBLOCK, PACKET):
                raw = kind & 0xF in (RAW, PACKET)
                wanted = 0 if family in families and not raw else errno.EACCES
                assert judge(instructions, machine.audit, machine.socket, family, kind) == wanted


def test_threads_can_be_made_and_namespaces_cannot(machine: Machine) -> None:
    strict = program(machine, (), deny=True)
    assert judge(strict, machine.audit, machine.clone, THREAD) == 0
    assert judge(strict, machine.audit, machine.clone, THREAD | NEW_USERS) == errno.EPERM
    assert judge(strict, machine.audit, machine.clone3) == errno.ENOSYS, "libraries take clone then"


def test_limits_are_ones_own(machine: Machine) -> None:
    strict = program(machine, (), deny=True)
    assert judge(strict, machine.audit, machine.prlimit, 0) == 0
    assert judge(strict, machine.audit, machine.prlimit, 4711) == errno.EPERM


def test_calls_of_another_architecture_are_none(machine: Machine) -> None:
    strict = program(machine, (), deny=True)
    assert judge(strict, 0x40000003, 20) == errno.EPERM, "32-bit programs"
    x32 = judge(strict, machine.audit, 0x40000000 | 101)
    assert x32 == (errno.EPERM if machine is MACHINES["x86_64"] else 0)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's")
def test_the_kernel_takes_it() -> None:
    import platform

    if (here := MACHINES.get(platform.machine())) is None:
        pytest.skip(f"no table for {platform.machine()}")

    def work() -> tuple[str, str | None, str | None]:
        no_new_privileges()
        install(program(here, (UNIX,), deny=True))
        inet = outcome(lambda: socket.socket(socket.AF_INET).close())
        return status()["Seccomp"], inet, outcome(lambda: socket.socket(socket.AF_UNIX).close())

    assert in_child(work) == ("2", "PermissionError", None)
