"""Where compiled code is kept: the setting `compile_cache`, or the caches' folder of whoever runs workers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torchkeeper.wire.messages import User

_OFF = "off"
_NAME = Path("torchkeeper", "compiled")


def kept_code_folder(
    said: Path | None, environ: Mapping[str, str], user: User | None, cwd: Path
) -> Path | None:
    """The folder; None: nothing is kept, as somebody has said, or as there is no home to keep it in.

    Source of the default: the XDG Base Directory Specification, by which a path that is not absolute counts
    for nothing.

    Args:
        said: the setting's.
        user: who workers become, in whose home it is then.
        cwd: where a path begins that is not absolute.
    """
    if said is not None:
        return None if str(said).lower() == _OFF else cwd / said
    caches = environ.get("XDG_CACHE_HOME", "")
    if user is None and Path(caches).is_absolute():
        return Path(caches, _NAME)
    home = environ.get("HOME", "") if user is None else user.home
    return Path(home, ".cache", _NAME) if Path(home).is_absolute() else None
