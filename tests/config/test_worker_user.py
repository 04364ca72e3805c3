"""Who workers become: users by name and number, and what is none."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.config.worker_user import find_user
from torchkeeper.errors import SettingsError
from torchkeeper.wire.messages import User

OTHER = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)


def test_a_user_is_found_by_name_and_number() -> None:
    by_name = find_user(OTHER.pw_name)
    assert (by_name.uid, by_name.gid, by_name.home) == (OTHER.pw_uid, OTHER.pw_gid, OTHER.pw_dir)
    assert OTHER.pw_gid in by_name.groups
    assert find_user(str(OTHER.pw_uid)).uid == OTHER.pw_uid
    assert find_user(f"{OTHER.pw_name}:4242").gid == 4242


def test_numbers_need_no_user() -> None:
    assert find_user("424242:424243") == User(424242, 424243, (424243,), "424242", "/")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no-such-user", "there is no user no-such-user"),
        ("424242", "there is no user 424242; uid:gid needs none"),
        (f"{OTHER.pw_name}:no-such-group", "there is no group no-such-group"),
        ("root", "must not be root"),
        ("0:4242", "must not be root"),
    ],
)
def test_what_is_none_is_said(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "config.properties").write_text(f"worker_user={text}\n")
    with pytest.raises(SettingsError, match=f"worker_user={text}: .*{why}"):
        load_settings(CommandLine(), {}, tmp_path)


def test_only_root_can_have_workers_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text(f"worker_user={OTHER.pw_name}\n")
    settings, warnings = load_settings(CommandLine(), {}, tmp_path)
    if os.geteuid() == 0:
        assert (settings.user, warnings) == (find_user(OTHER.pw_name), ())
    else:
        assert settings.user is None
        assert warnings == (f"worker_user={OTHER.pw_name} has no effect: the server is not root",)
