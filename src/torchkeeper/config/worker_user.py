"""Who workers become where the server is root: the setting `worker_user`, looked up in the system."""

from __future__ import annotations

import grp
import os
import pwd

from torchkeeper.errors import SettingsError
from torchkeeper.wire.messages import User


def worker_user(text: str | None, warnings: list[str]) -> User | None:
    """The user that the setting names; None: nobody is named, or this process cannot become another user.

    Raises:
        SettingsError: there is no such user.
    """
    if text is None:
        return None
    try:
        found = find_user(text)
    except ValueError as error:
        raise SettingsError(f"worker_user={text}: {error}") from None
    if os.geteuid() != 0:
        warnings.append(f"worker_user={text} has no effect: the server is not root")
        return None
    return found


def find_user(text: str) -> User:
    """The user of a name or number, or of one with a group's behind a colon.

    Raises:
        ValueError: there is none; says what is wrong.
    """
    wanted, _, group = text.partition(":")
    try:
        entry = pwd.getpwuid(int(wanted)) if wanted.isdecimal() else pwd.getpwnam(wanted)
    except KeyError:
        if not (wanted.isdecimal() and group):
            raise ValueError(f"there is no user {wanted}; uid:gid needs none") from None
        uid, gid, name, home = int(wanted), _group(group), wanted, "/"
        groups = [gid]
    else:
        uid, name, home = entry.pw_uid, entry.pw_name, entry.pw_dir
        gid = _group(group) if group else entry.pw_gid
        groups = os.getgrouplist(name, gid)
    if uid == 0:
        raise ValueError("must not be root")
    return User(uid, gid, tuple(groups), name, home)


def _group(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {text}") from None
