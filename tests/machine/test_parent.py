"""Processes that end with their parent, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from torchkeeper.machine.parent import ends_with_this

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal of a parent's end")


def test_a_child_ends_with_its_parent_that_is_killed() -> None:
    """Whether it had asked for that by then or not."""
    source = (
        "import subprocess, sys\nfrom torchkeeper.machine.parent import ends_with_this\n"
        "fd = int(sys.argv[1])\n"
        "child = subprocess.Popen(ends_with_this(['/bin/sleep', '1000']), pass_fds=(fd,))\n"
        "print(child.pid, flush=True)\nchild.wait()\n"
    )
    held, holds = os.pipe()
    with (
        open(held, "rb") as left,
        subprocess.Popen(
            [sys.executable, "-c", source, str(holds)], pass_fds=(holds,), stdout=subprocess.PIPE
        ) as parent,
    ):
        os.close(holds)
        assert parent.stdout is not None
        assert parent.stdout.readline()
        parent.kill()
        assert left.read() == b"", "nobody holds the other end any more"


def test_a_child_whose_parent_is_gone_does_not_begin() -> None:
    command = ends_with_this([sys.executable, "-c", "print('began')"])
    command[4] = "1"
    assert command[3] == "torchkeeper.machine.parent"
    assert subprocess.run(command, capture_output=True, check=True, timeout=60).stdout == b""
