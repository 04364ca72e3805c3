"""What each level means: environment, sockets, capabilities, paths."""

from __future__ import annotations

from typing import Any

import pytest

from torchkeeper.sandbox.policy import (
    ENVIRONMENT,
    FOLDERS,
    ORDINARY,
    Interpreter,
    capabilities,
    environment,
    families,
    holds,
    ruleset,
)
from torchkeeper.sandbox.rights import EVERY, OWN, READ, USE, FileAccess
from torchkeeper.wire.messages import Sandbox, User

PYTHON = Interpreter(
    "/usr/bin/python3.11", ("/srv/venv", "/usr"), ("/srv/app", "/srv/app/src", "/usr/lib/python3")
)
USER = User(1000, 1000, (1000,), "me", "/home/me")


def test_a_strict_worker_has_at_most_twelve_variables() -> None:
    assert len({*ENVIRONMENT, *FOLDERS}) <= 12
    given = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "LANG": "C", "TS_API_KEY": "k"}
    assert environment(given) == {"PATH": "/bin", "LANG": "C"}


@pytest.mark.parametrize(
    ("level", "network", "wanted"),
    [
        ("strict", False, ()),
        ("strict", True, (1, 2, 10, 16)),
        ("default", True, None),
        ("default", False, (1,)),
    ],
)
def test_sockets_are_of_families(level: str, network: bool, wanted: tuple[int, ...] | None) -> None:
    assert families(Sandbox(level=level, network=network)) == wanted


def test_root_keeps_what_lets_it_use_files_by_default() -> None:
    assert capabilities(Sandbox(level="default")) == ORDINARY
    assert capabilities(Sandbox(level="default", user=USER)) == ()
    assert capabilities(Sandbox(level="strict")) == ()


def strict(**more: Any) -> dict[str, FileAccess]:
    given = {"level": "strict", "model_dir": "/tmp/models/1", "scratch": "/tmp/mine", **more}
    found = ruleset(Sandbox(**given), PYTHON)
    assert found.handled == EVERY
    return dict(found.beneath)


def test_a_strict_worker_reads_its_model_and_python_and_writes_its_own_folder() -> None:
    rules = strict()
    assert rules["/tmp/models/1"] == READ
    assert rules["/srv/venv"] == rules["/usr/bin/python3.11"] == rules["/usr/lib/python3"] == USE
    writable = {path for path, access in rules.items() if access & FileAccess.MAKE_REG}
    assert writable == {"/tmp/mine"}
    assert rules["/tmp/mine"] == OWN
    assert not rules["/tmp/mine"] & (FileAccess.EXECUTE | FileAccess.MAKE_CHAR | FileAccess.MAKE_BLOCK)
    assert not rules.keys() & {"/", "/usr", "/home", "/tmp", "/etc", "/proc", "/dev", "/dev/shm", "/sys"}


def test_what_holds_the_servers_own_files_is_not_pythons() -> None:
    assert "/srv/app" in strict(own=("/srv/store",))
    rules = strict(own=("/srv/app/key_file.json", "/srv/store"))
    assert "/srv/app" not in rules
    assert rules["/srv/app/src"] == USE


def test_gpus_are_there_for_a_model_that_has_one() -> None:
    cards = Interpreter("/p", (), (), gpu_devices=("/dev/nvidia0",))
    with_gpu = dict(ruleset(Sandbox(level="strict", gpu=True), cards).beneath)
    assert FileAccess.WRITE_FILE | FileAccess.IOCTL_DEV in with_gpu["/dev/nvidia0"]
    assert "/proc/driver/nvidia" in with_gpu
    assert "/dev/nvidia0" not in dict(ruleset(Sandbox(level="strict"), cards).beneath)


def test_by_default_files_stay_as_they_were() -> None:
    found = ruleset(Sandbox(level="default", network=False), PYTHON)
    assert (found.handled, found.tcp) == (FileAccess.REFER, False)
    assert found.beneath == (("/", FileAccess.REFER),)


@pytest.mark.parametrize(
    ("folder", "file", "held"),
    [
        ("/a", "/a/b", True),
        ("/a", "/a", True),
        ("/", "/a", True),
        ("/a/b", "/a", False),
        ("/ab", "/abc", False),
    ],
)
def test_a_folder_holds_what_lies_in_it(folder: str, file: str, held: bool) -> None:
    assert holds(folder, (file,)) is held
