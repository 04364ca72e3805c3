"""Landlock by the real kernel, in children of the test; what older kernels lack, by their version."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from children import in_child, outcome  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.sandbox import landlock
from torchkeeper.sandbox.privileges import keep_capabilities, no_new_privileges
from torchkeeper.sandbox.rights import EVERY, OWN, READ, FileAccess, Ruleset

ABI = landlock.version() if sys.platform == "linux" else 0
real = pytest.mark.skipif(ABI == 0, reason="the kernel has no Landlock, or it is off")


def test_versions_have_what_came_with_them() -> None:
    assert landlock.rights(0) == 0
    assert FileAccess.MAKE_SYM in landlock.rights(1)
    assert FileAccess.REFER not in landlock.rights(1)
    assert FileAccess.REFER in landlock.rights(2)
    assert FileAccess.TRUNCATE in landlock.rights(4)
    assert FileAccess.IOCTL_DEV not in landlock.rights(4)
    assert landlock.rights(5) == landlock.rights(99) == EVERY


@pytest.mark.parametrize(
    ("abi", "files", "tcp", "said"),
    [
        (0, True, False, ["no Landlock, or it is off: files, TCP and other processes are open to workers"]),
        (0, False, True, ["no Landlock, or it is off: other processes and their memory are open to workers"]),
        (1, False, True, ["version 1: other processes and their memory are open to workers"]),
        (
            1,
            True,
            False,
            [
                "version 1: REFER, TRUNCATE, IOCTL_DEV of files",
                "TCP is not limited by it",
                "signals to other",
            ],
        ),
        (3, False, True, ["version 3: signals to other processes are not limited"]),
        (4, True, False, ["version 4: IOCTL_DEV of files", "version 4: signals"]),
        (6, True, False, []),
        (7, False, False, []),
    ],
)
def test_what_a_version_lacks_is_said(abi: int, files: bool, tcp: bool, said: list[str]) -> None:
    found = list(landlock.lacks(abi, files=files, tcp=tcp))
    assert len(found) == len(said)
    assert not [(one, words) for one, words in zip(found, said, strict=True) if words not in one]


@real
def test_files_are_those_that_rules_allow(tmp_path: Path) -> None:
    for name in ("own", "read", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "one").write_text("x")
    rules = (
        *((str(tmp_path / "own"), OWN), (str(tmp_path / "read"), READ), (str(tmp_path / "one"), READ)),
        (str(tmp_path / "not there"), READ),
    )

    def work() -> dict[str, str | None]:
        no_new_privileges()
        landlock.restrict(Ruleset(EVERY, rules), ABI)
        return {
            "read own": outcome(lambda: (tmp_path / "own" / "file").read_text()),
            "write own": outcome(lambda: (tmp_path / "own" / "new").write_text("x")),
            "read": outcome(lambda: (tmp_path / "read" / "file").read_text()),
            "read one": outcome(lambda: (tmp_path / "one").read_text()),
            "write": outcome(lambda: (tmp_path / "read" / "new").write_text("x")),
            "append": outcome(lambda: open(tmp_path / "read" / "file", "a").close()),
            "read other": outcome(lambda: (tmp_path / "other" / "file").read_text()),
            "list other": outcome(lambda: os.listdir(tmp_path / "other")),
            "device": outcome(lambda: os.mknod(tmp_path / "own" / "null", 0o20600, os.makedev(1, 3))),
        }

    assert {name for name, error in in_child(work).items() if error is None} == {
        *("read own", "write own", "read", "read one")
    }


@real
@pytest.mark.skipif(landlock.LEAST_FOR_DEFAULT > ABI, reason=f"version {ABI}")
def test_a_ruleset_that_gives_back_what_any_takes_leaves_files_as_they_were(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").write_text("x")

    def work() -> tuple[str | None, str | None]:
        keep_capabilities(())  # by one of them root may read what Landlock is not asked of
        no_new_privileges()
        landlock.restrict(Ruleset(FileAccess.REFER, (("/", FileAccess.REFER),)), ABI)
        os.rename(tmp_path / "a" / "file", tmp_path / "b" / "file")
        os.link(tmp_path / "b" / "file", tmp_path / "a" / "link")
        return (
            outcome(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
            outcome(lambda: os.kill(os.getppid(), 0)),
        )

    assert in_child(work) == ("PermissionError", "PermissionError" if ABI >= landlock.SCOPES_SINCE else None)
    assert (tmp_path / "a" / "link").read_text() == "x"


@real
@pytest.mark.skipif(landlock.TCP_SINCE > ABI, reason=f"version {ABI}")
@pytest.mark.parametrize("tcp", [True, False])
def test_tcp_is_there_or_is_not(tcp: bool) -> None:
    def work() -> tuple[str | None, str | None]:
        no_new_privileges()
        landlock.restrict(Ruleset(FileAccess.REFER, (("/", FileAccess.REFER),), tcp), ABI)
        listening = outcome(lambda: socket.create_server(("127.0.0.1", 0)).close())
        return listening, outcome(lambda: socket.create_connection(("127.0.0.1", port), 10).close())

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert in_child(work) == ((None, None) if tcp else ("PermissionError", "PermissionError"))


@real
def test_it_is_refused_to_whom_may_still_get_privileges() -> None:
    def work() -> str | None:
        return outcome(lambda: landlock.restrict(Ruleset(FileAccess.READ_FILE, ()), ABI))

    assert in_child(work) == (None if os.geteuid() == 0 else "PermissionError")
