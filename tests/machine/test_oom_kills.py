"""The kernel's count of processes that it has ended for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.machine.oom_kills import OomWatch, oom_kills


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("0::/pod/a\n", "pod/a/memory.events", "low 0\noom 9\noom_kill 4\noom_group_kill 0\n"),
        ("0::/pod/a\n", "memory.events", "oom 9\noom_kill 4\n"),
        (
            "5:cpu,cpuacct:/x\n4:memory:/pod/a\n0::/\n",
            "memory/pod/a/memory.oom_control",
            "under_oom 0\noom_kill 4\n",
        ),
        (
            "4:memory:/pod/a\n0::/\n",
            "memory/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
        ),
        ("2:cpu:/\n0::/pod\n", "unified/pod/memory.events", "oom_kill 4\n"),
    ],
)
def test_the_count_is_found_in_either_version(tmp_path: Path, groups: str, file: str, text: str) -> None:
    ours = tmp_path / "cgroup"
    ours.write_text(groups)
    path = tmp_path / "mounted" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert oom_kills(ours, tmp_path / "mounted") == 4


def test_where_there_is_no_count_nobody_knows(tmp_path: Path) -> None:
    ours = tmp_path / "cgroup"
    assert oom_kills(ours, tmp_path) is None
    ours.write_text("0::/\n")
    assert oom_kills(ours, tmp_path) is None
    (tmp_path / "memory.events").write_text("oom_kill many\n")
    assert oom_kills(ours, tmp_path) is None
    watch = OomWatch(lambda: None)
    assert watch.claim(watch.now()) is None


def test_each_count_is_told_of_one_process() -> None:
    counts = [3]
    watch = OomWatch(lambda: counts[0])
    first, second = watch.now(), watch.now()
    assert watch.claim(first) is False, "what was counted before it began is not about it"
    counts[0] = 4
    assert watch.claim(first) is True
    assert watch.claim(second) is False, "that one was told of"
    counts[0] = 6
    assert (watch.claim(second), watch.claim(second), watch.claim(second)) == (True, True, False)
