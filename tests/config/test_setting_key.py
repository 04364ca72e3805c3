"""What becomes of a text that is no value, by the kind of its row."""

from __future__ import annotations

from typing import Any

import pytest

from torchkeeper.config import types as form
from torchkeeper.config.setting_key import Effect, Read, SettingKey


def row(**more: Any) -> SettingKey:
    return SettingKey("some_key", form.whole(1, instead=7), "3", "what it means", **more)


@pytest.mark.parametrize(
    ("more", "read"),
    [
        ({}, (7, "7 is used")),
        ({"effect": Effect.LATER, "why": "later"}, (7, "7 is used")),
        ({"own": True, "effect": Effect.NONE, "why": "never"}, (3, "it is ignored")),
    ],
)
def test_what_torchserve_passes_over_is_complained_of(more: dict[str, Any], read: tuple[int, str]) -> None:
    found = row(**more).read("0")
    assert (found.value, found.instead) == read
    assert found.complaint == "must be at least 1"
    assert row(**more).read("5") == Read(5)


def test_a_key_of_our_own_that_works_is_read_strictly() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        row(own=True).read("0")


def test_the_variable_is_the_name_unless_it_has_one_of_its_own() -> None:
    assert (row().variable, row(env="TS_OTHER").variable) == ("TS_SOME_KEY", "TS_OTHER")


def test_what_may_stand_in_no_file_says_where_it_goes() -> None:
    assert row().barred == ""
    assert "some_key_file or the variable TS_SOME_KEY" in row(from_file=False).barred
