"""YAML is read, or told of in one sentence: also where PyYAML itself stumbles over a value."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.config.log_config import parse_log_config
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.errors import SettingsError
from torchkeeper.metrics.catalogue import CatalogueError, parse_catalogue
from torchkeeper.wire.yaml_text import read_yaml

STUMBLING = ["a: !!int ''", "a: !!float ''", "a: !!bool x", "a: !!timestamp x"]


def test_what_there_is_comes_in_plain_types() -> None:
    assert read_yaml("a: [1, x]\n") == {"a": [1, "x"]}
    assert read_yaml(b"") is None


@pytest.mark.parametrize("text", [*STUMBLING, "a: [", "[" * 5_000, "a: 2020-13-45", "a: !!python/name:os.x"])
def test_what_is_none_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        read_yaml(text)


@given(st.text(alphabet="!&*<>:-?[]{}#%'\"|, \nab01int"))
def test_any_text_is_read_or_told_of(text: str) -> None:
    with contextlib.suppress(ValueError):
        read_yaml(text)


@pytest.mark.parametrize("text", STUMBLING)
def test_whoever_reads_a_file_says_so(text: str) -> None:
    assert "no valid YAML" in parse_model_config(text, "model-config.yaml")[1][0]
    with pytest.raises(CatalogueError):
        parse_catalogue(text)
    with pytest.raises(SettingsError):
        parse_log_config("log.yaml", text.encode(), {})
