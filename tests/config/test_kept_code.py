from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.config.kept_code import kept_code_folder
from torchkeeper.wire.messages import User

OTHER = User(7, 7, (7,), "other", "/home/other")


@pytest.mark.parametrize(
    ("said", "environ", "user", "folder"),
    [
        (None, {"HOME": "/home/me"}, None, "/home/me/.cache/torchkeeper/compiled"),
        (None, {"HOME": "/home/me", "XDG_CACHE_HOME": "/caches"}, None, "/caches/torchkeeper/compiled"),
        (None, {"HOME": "/home/me", "XDG_CACHE_HOME": "c"}, None, "/home/me/.cache/torchkeeper/compiled"),
        (None, {}, None, None),
        # Root's folders are not for the user that workers become.
        (
            None,
            {"HOME": "/root", "XDG_CACHE_HOME": "/caches"},
            OTHER,
            "/home/other/.cache/torchkeeper/compiled",
        ),
        ("/code", {"HOME": "/home/me"}, OTHER, "/code"),
        ("code", {}, None, "/cwd/code"),
        ("OFF", {"HOME": "/home/me"}, None, None),
    ],
)
def test_where_compiled_code_is_kept(
    said: str | None, environ: dict[str, str], user: User | None, folder: str | None
) -> None:
    found = kept_code_folder(None if said is None else Path(said), environ, user, Path("/cwd"))
    assert found == (None if folder is None else Path(folder))
