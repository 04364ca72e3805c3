"""What a process gives up, in children of the test, as its kernel tells it afterwards."""

from __future__ import annotations

import os
import resource
import sys

import pytest
from children import in_child, outcome  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.sandbox.policy import ORDINARY
from torchkeeper.sandbox.privileges import (
    become,
    held_capabilities,
    keep_capabilities,
    limit,
    no_new_privileges,
    shrink_bounds,
    status,
)
from torchkeeper.wire.messages import User

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's")
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = User(65534, 65534, (65534,), "nobody", "/")


def test_new_privileges_are_given_up() -> None:
    def work() -> str:
        no_new_privileges()
        return status()["NoNewPrivs"]

    assert in_child(work) == "1"


@pytest.mark.parametrize("kept", [(), ORDINARY])
def test_capabilities_are_those_that_were_kept_of_those_that_were_there(kept: tuple[int, ...]) -> None:
    had, wanted = held_capabilities(), sum(1 << each for each in kept)

    def work() -> dict[str, int | bool]:
        shrunk = shrink_bounds(kept)
        keep_capabilities(kept)
        names = ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")
        return {"shrunk": shrunk, **{name: int(status()[name], 16) for name in names}}

    found = in_child(work)
    assert found["CapEff"] == found["CapPrm"] == had & wanted
    assert found["CapInh"] == found["CapAmb"] == 0
    if found["shrunk"]:
        assert found["CapBnd"] & ~wanted == 0
    else:
        assert not had & 1 << 8, "who has CAP_SETPCAP may"


@root
def test_another_user_has_no_way_back() -> None:
    def work() -> tuple[object, ...]:
        become(NOBODY)
        back = outcome(lambda: os.setresuid(0, 0, 0))
        readable = outcome(lambda: open("/proc/self/environ", "rb").close())
        return os.getresuid(), os.getresgid(), os.getgroups(), held_capabilities(), back, readable

    ids = (65534,) * 3
    assert in_child(work) == (ids, ids, [65534], 0, "PermissionError", None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can")
def test_who_is_not_root_becomes_nobody_else() -> None:
    assert in_child(lambda: outcome(lambda: become(NOBODY))) == "PermissionError"


def test_limits_hold_and_no_core_is_dumped() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def work() -> tuple[object, ...]:
        limit({"nofile": 64, "as": 1 << 45, "fsize": 1 << 20, "nproc": 4000})
        kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE)
        return tuple(resource.getrlimit(kind) for kind in kinds)

    assert in_child(work) == ((0, 0), (64, 64), (1 << 45, 1 << 45), (1 << 20, 1 << 20))
    assert in_child(lambda: (limit({"nofile": most + 1}), resource.getrlimit(resource.RLIMIT_NOFILE))[1]) == (
        most,
        most,
    ), "never more than there was"
