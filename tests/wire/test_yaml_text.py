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


def of_aliases(first: str, use: str) -> str:
    """Nine lines, each of which stands for the one before nine times."""
    lines = [f"a0: &a0 {first}"]
    for number in range(1, 9):
        lines.append(f"a{number}: &a{number} {use.format(', '.join([f'*a{number - 1}'] * 9))}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (of_aliases("[x]", "[{}]"), "it stands for more than 100000 values"),
        (of_aliases("{b: 1}", "{{<<: [{}]}}"), "it stands for more than 100000 values"),
        ("- 1\n" * 100_001, "it stands for more than 100000 values"),
        ("a: 1" + ":1" * 500_000, "a number in it has more than 1000 characters"),
        ("a: " + "1:" * 400_000 + "1.5", "a number in it has more than 1000 characters"),
        ("a: " + "x" * (1 << 20), "it has more than 1048576 characters"),
    ],
)
def test_too_much_is_told_of_before_it_is_made(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_yaml(text)


def test_aliases_and_merges_are_read() -> None:
    assert read_yaml("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}") == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 1, "e": 2},
    }


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
