"""Processes that are held by a descriptor: who is hit, what is known of them, and what they cost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from torchkeeper.machine.held_process import HeldProcess

linux = pytest.mark.skipif(sys.platform != "linux", reason="pidfds")


def sleeper(group: int | None) -> subprocess.Popen[bytes]:
    """A process of a group (0: its own; None: the tests')."""
    return subprocess.Popen(["sleep", "1000"], process_group=group)


@pytest.fixture(params=["held", "by its number"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How processes are known."""
    if request.param != "held":
        monkeypatch.setattr("os.pidfd_open", nothing_left, raising=False)
    elif sys.platform != "linux":
        pytest.skip("pidfds")
    return str(request.param)


def nothing_left(pid: int) -> int:
    raise OSError(errno.EMFILE, f"Too many open files for {pid}")


@pytest.mark.usefixtures("kept")
def test_a_leader_and_its_members_end_but_nobody_else() -> None:
    with sleeper(0) as leader, sleeper(leader.pid) as member, sleeper(0) as other, sleeper(None) as stranger:
        process = HeldProcess(leader.pid)
        process.kill()
        assert leader.wait(60) == member.wait(60) == -signal.SIGKILL
        process.close()
        for left in (other, stranger):
            left.terminate()
            assert left.wait(60) == -signal.SIGTERM, "it had not been killed"


@pytest.mark.usefixtures("kept")
def test_a_process_is_ended_also_before_it_leads_a_group() -> None:
    with sleeper(None) as child:
        process = HeldProcess(child.pid)
        process.kill()
        assert child.wait(60) == -signal.SIGKILL
        process.kill()  # nobody is there, and nobody is hit
        process.close()


@linux
def test_members_of_a_zombies_group_end_but_not_of_one_that_was_waited_for() -> None:
    with subprocess.Popen(["true"], process_group=0) as leader, sleeper(leader.pid) as member:
        process = HeldProcess(leader.pid)
        os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
        assert (process.has_ended, process.is_there) == (True, True)
        process.kill()
        assert member.wait(60) == -signal.SIGKILL
    with subprocess.Popen(["true"], process_group=0) as leader, sleeper(leader.pid) as member:
        process = HeldProcess(leader.pid)
        leader.wait(60)
        assert (process.has_ended, process.is_there, process.parent) == (True, False, None)
        process.kill()
        process.signal(signal.SIGKILL)
        member.terminate()
        assert member.wait(60) == -signal.SIGTERM, "it may have been another one's by then"
        process.close()


@linux
def test_a_process_that_is_gone_already_is_nobody() -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    process = HeldProcess(child.pid)
    assert (process.hold(), process.has_ended, process.fd, process.parent) == (True, True, None, None)


@linux
def test_the_parent_is_told_of_the_living_and_of_zombies_and_of_nobody_by_the_number_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["true"]) as child:
        process = HeldProcess(child.pid)
        assert process.parent == os.getpid()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.parent == os.getpid()
        process.close()
        monkeypatch.setattr("os.pidfd_open", nothing_left)
        with pytest.raises(OSError, match="cannot be held"):
            assert HeldProcess(child.pid).parent


@linux
def test_no_descriptor_stays() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with sleeper(0) as child:
        process = HeldProcess(child.pid)
        assert not process.has_ended
        process.kill()
    process.close()
    process.close()
    assert set(os.listdir("/proc/self/fd")) == before
