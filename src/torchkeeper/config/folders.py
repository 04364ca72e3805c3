"""Where the environment has the server write: its logs, those of metrics, and what lasts while it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from torchkeeper.errors import LaunchRefused


def log_location(environ: Mapping[str, str], cwd: Path) -> Path:
    """The folder of log files and snapshots."""
    return cwd / environ.get("LOG_LOCATION", "logs")


def metrics_location(environ: Mapping[str, str], cwd: Path) -> Path:
    """The folder of the log files of metrics."""
    return cwd / environ.get("METRICS_LOCATION", "logs")


def temp_dir(environ: Mapping[str, str]) -> Path:
    """The folder of unpacked models and the like.

    Raises:
        LaunchRefused: the one that is named is not there, or none can be written to.
    """
    named = environ.get("TEMP")
    if not named:
        try:
            return Path(tempfile.gettempdir())
        except FileNotFoundError:
            raise LaunchRefused(
                "Invalid temp directory: none can be written to, please set the TEMP environment variable "
                "to a folder that can (in a container: an emptyDir)."
            ) from None
    if not Path(named).is_dir():
        raise LaunchRefused(f"Invalid temp directory: {named}, please check TEMP environment variable.")
    return Path(named)
