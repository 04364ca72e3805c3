"""The documentation says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

from torchkeeper.setting_table import KEYS

DOCS = Path(__file__).parents[1] / "docs"


def test_the_compatibility_page_lists_the_settings_without_effect() -> None:
    page = (DOCS / "compatibility.md").read_text()
    waiting = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert waiting == {
        key.name: key.later for key in KEYS if key.later and not key.later.startswith("nothing")
    }
    not_needed = re.findall(r"^- `(\w+)`$", page, re.MULTILINE)
    assert not_needed == [key.name for key in KEYS if key.later.startswith("nothing")]
