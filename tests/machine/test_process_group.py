"""Groups of processes: who is ended with them, and who is not."""

from __future__ import annotations

import os
import signal
import subprocess

from torchkeeper.machine.process_group import kill_members


def sleeper(group: int | None) -> subprocess.Popen[bytes]:
    """A process of a group (0: its own; None: the tests')."""
    return subprocess.Popen(["sleep", "1000"], process_group=group)


def test_a_leader_and_its_members_end_but_nobody_else() -> None:
    with sleeper(0) as leader, sleeper(leader.pid) as member, sleeper(0) as other, sleeper(None) as stranger:
        kill_members(leader.pid)
        assert leader.wait(60) == member.wait(60) == -signal.SIGKILL
        for left in (other, stranger):
            left.terminate()
            assert left.wait(60) == -signal.SIGTERM, "it had not been killed"


def test_a_group_outlives_its_leader() -> None:
    with sleeper(0) as leader, sleeper(leader.pid) as member:
        leader.terminate()
        leader.wait(60)
        assert kill_members(leader.pid)
        assert member.wait(60) == -signal.SIGKILL
    assert not kill_members(leader.pid)


def test_a_group_has_members_until_the_last_zombie_is_waited_for() -> None:
    with subprocess.Popen(["true"], process_group=0) as leader:
        os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
        assert kill_members(leader.pid)
    assert leader.returncode == 0, "a zombie has ended in its own way"
    assert not kill_members(leader.pid)
