"""What tests of worker processes share."""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import light_environ  # type: ignore[import-not-found]  # pytest puts this folder on the path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which a template starts in no time."""
    found: dict[str, str] = light_environ(tmp_path / "light")
    return found
