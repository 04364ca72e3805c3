"""The documentation says what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from torchkeeper.config.layers import STRICT
from torchkeeper.config.model_key import In, ModelKey
from torchkeeper.config.model_settings import TABLE
from torchkeeper.config.setting_key import Effect, SettingKey
from torchkeeper.config.table import KEYS
from torchkeeper.serving.description import Description, WorkerDescription
from torchkeeper.wire import features

DOCS = Path(__file__).parents[1] / "docs"


def setting_row(key: SettingKey) -> str:
    """The line of a key in docs/configuration.md."""
    default = f"`{key.default}`" if key.default else ""
    effect = {
        Effect.WORKS: "",
        Effect.LATER: f"no effect yet: {key.why}",
        Effect.NONE: f"no effect: {key.why}",
        Effect.RECORD: f"no effect: {key.why}",
    }[key.effect]
    meaning = "; ".join(part for part in (key.meaning, effect) if part)
    variable = f"`{key.variable}`" if key.from_env else ""
    cells = (f"`{key.name}`", default, meaning, variable)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def test_the_configuration_page_says_of_every_key_what_the_table_says() -> None:
    page = (DOCS / "configuration.md").read_text()
    _, _, rows = page.partition("| key | default | meaning | variable |\n|---|---|---|---|\n")
    assert rows.partition("\n\n")[0].splitlines() == [setting_row(key) for key in KEYS]


def model_row(row: ModelKey) -> str:
    """The line of a key in docs/configuration.md's table of what can be set for a model."""
    default = str(row.default or "")
    default = (
        "`true`" if row.default is True else f"{row.default:g}" if isinstance(row.default, float) else default
    )
    default = f"`{row.setting}`" if row.setting else default
    meaning = f"{row.meaning} ({row.unit})" if row.unit else row.meaning
    places = [("model-config.yaml", In.YAML), ("`models`", In.MODELS), ("snapshots", In.SNAPSHOT)]
    said = [name for name, place in places if place in row.places]
    said += [f"`{row.parameter}`"] if row.parameter else []
    shown = "yes" if In.DESCRIPTION in row.places else ""
    return f"| `{row.name}` | {default} | {meaning} | {', '.join(said)} | {shown} |".replace("|  |", "| |")


def test_the_configuration_page_says_what_can_be_set_for_a_model() -> None:
    page = (DOCS / "configuration.md").read_text()
    _, _, rows = page.partition("| key | default | meaning | said in | described |\n|---|---|---|---|---|\n")
    assert rows.partition("\n\n")[0].splitlines() == [model_row(row) for row in TABLE]


def test_the_page_on_models_has_every_key_of_a_description_that_is_not_torchserves() -> None:
    page = (DOCS / "management.md").read_text()
    said = page.partition("## What a description says\n")[2].partition("\n## ")[0]
    ours = [
        field.encode_name
        for kind in (Description, WorkerDescription)
        for field in msgspec.structs.fields(kind)
        if field.default is msgspec.UNSET and field.name not in ("deviceIds", "customizedMetadata")
    ]
    assert [name for name in ours if f"`{name}`" not in said] == []


def test_the_compatibility_page_lists_the_settings_without_effect() -> None:
    page = (DOCS / "compatibility.md").read_text()
    waiting = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert waiting == {key.name: key.why for key in KEYS if key.effect is Effect.LATER}
    not_needed = re.findall(r"^- `(\w+)`$", page, re.MULTILINE)
    assert not_needed == [key.name for key in KEYS if key.effect in (Effect.NONE, Effect.RECORD)]


def test_the_migration_page_lists_the_same_features() -> None:
    page = (DOCS / "migrating.md").read_text()
    _, _, rows = page.partition("| feature | keys |\n|---|---|\n")
    listed = [line.split(" | ")[0].removeprefix("| ") for line in rows.partition("\n\n")[0].splitlines()]
    wanted = [key.why for key in KEYS if key.effect is Effect.LATER]
    assert listed == list(dict.fromkeys(wanted))


def test_the_migration_page_names_what_a_model_may_wait_for() -> None:
    page = (DOCS / "migrating.md").read_text().partition("Also not here yet")[2]
    asking = (*features.KEYS, *features.PARALLEL_TYPES, *features.RUNTIMES, *features.HANDLERS)
    assert not [name for name in asking if f"`{name}`" not in page]


def test_the_compatibility_page_has_every_feature_that_is_not_here() -> None:
    page = (DOCS / "compatibility.md").read_text()
    _, _, rows = page.partition("| feature | here | without it |\n|---|---|---|\n")
    known = [value for value in vars(features).values() if isinstance(value, features.Feature)]
    wanted = [
        f"| {each.name} | {'not yet' if each.coming else 'will not come'} | {each.instead} |"
        for each in sorted(known, key=lambda each: not each.coming)
    ]
    assert rows.partition("\n\n")[0].splitlines() == wanted


def test_every_feature_on_the_compatibility_page_is_shown_by_tests_that_are_there() -> None:
    page = (DOCS / "compatibility.md").read_text()
    _, _, rows = page.partition("| feature | here | more | shown by |\n|---|---|---|---|\n")
    for row in rows.partition("\n\n")[0].splitlines():
        more, shown = (re.findall(r"\]\(([^)]+)\)", cell) for cell in row.split(" | ")[2:])
        assert more, row
        assert shown, row
        assert not [link for link in (*more, *shown) if not (DOCS / link).is_file()], row


def test_the_configuration_page_says_what_strict_changes() -> None:
    page = (DOCS / "configuration.md").read_text()
    _, _, table = page.partition("## Strict\n")
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (\S+): .* \|$", table.partition("\n## ")[0], re.MULTILINE))
    assert rows == {name: f"`{text}`" if text else "empty" for name, text in STRICT.items()}
