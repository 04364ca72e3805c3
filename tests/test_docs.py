"""The documentation says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

from torchkeeper.handler.builtin import BUILTIN, READY
from torchkeeper.model_config import LATER
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


def test_the_migration_page_lists_the_same_features() -> None:
    page = (DOCS / "migrating.md").read_text()
    _, _, rows = page.partition("| feature | keys |\n|---|---|\n")
    listed = [line.split(" | ")[0].removeprefix("| ") for line in rows.partition("\n\n")[0].splitlines()]
    wanted = [key.later for key in KEYS if key.later and not key.later.startswith("nothing")]
    assert listed == list(dict.fromkeys(wanted))


def test_the_migration_page_names_what_a_model_may_wait_for() -> None:
    page = (DOCS / "migrating.md").read_text().partition("Also not here yet")[2]
    later = [name for name in BUILTIN if name not in READY]
    assert not [name for name in (*LATER, *later) if f"`{name}`" not in page]
