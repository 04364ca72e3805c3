"""When two answers are the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.wire.agreement import Check, differs

SAME, EXACT, TOP1, CLOSE = Check(), Check("exact"), Check("top1"), Check("rel", 1e-3)


@pytest.mark.parametrize(
    ("expected", "found", "check", "why"),
    [
        ("7", "7", EXACT, None),
        ("7", "7 ", EXACT, "'7' became '7'"),
        ("7", "7 ", SAME, None),
        ("7", "8", SAME, "the answer is another one"),
        ("seven", "eight", SAME, "'seven' became 'eight'"),
        ("1.0", "1.005", SAME, None),
        ("1.0", "1.05", SAME, "the number is 1.05 instead of 1"),
        ("1.0", "1", SAME, None),
        ("true", "1", SAME, "the answer is another one"),
        ('{"cat": 0.6, "dog": 0.4}', '{"cat": 0.5, "dog": 0.45}', SAME, None),
        ('{"cat": 0.6, "dog": 0.4}', '{"dog": 0.5, "cat": 0.45}', SAME, "is 'dog' instead of 'cat'"),
        ('{"cat": 0.6, "dog": 0.4}', '{"cat": NaN, "dog": NaN}', SAME, "there is a NaN"),
        ('{"cat": NaN, "dog": 0.4}', '{"cat": NaN, "dog": 0.4 }', SAME, None),
        ("[0.6, 0.4]", "[NaN, 0.4]", TOP1, "there is a NaN"),
        ("[0.6, 0.4]", "[0.6, NaN]", SAME, "[1] is nan instead of 0.4"),
        ('{"cat": 0.6, "dog": 0.4}', '{"cat": 0.5, "dog": 0.45}', CLOSE, "cat is 0.5 instead of 0.6"),
        ('{"cat": 0.6}', '{"cat": 0.5}', SAME, ".cat is 0.5 instead of 0.6"),
        ('{"label": "cat", "p": 0.6}', '{"label": "cat", "p": 0.601}', SAME, None),
        ('{"label": "cat", "p": 0.6}', '{"label": "dog", "p": 0.6}', SAME, ".label is another one"),
        ('{"a": 1}', '{"b": 1}', SAME, "the map has other keys"),
        ("[1, 2]", "[1]", SAME, "has 1 values instead of 2"),
        ("[1, 2]", "[1, 3]", SAME, "[1] is another one"),
        ("[1.0, 100.0]", "[1.5, 100.0]", SAME, None),  # by the greatest of the list
        ("[1.0, 100.0]", "[1.0, 102.0]", SAME, "[1] is 102 instead of 100"),
        ("[1.0, 100.0]", "[1.5, 100.0]", CLOSE, "[0] is 1.5 instead of 1"),
        ("[0.1, 0.9]", "[0.3, 0.7]", TOP1, None),
        ("[0.1, 0.9]", "[0.7, 0.3]", TOP1, "the greatest is 0 instead of 1"),
        ("[[0.1, 0.9], [1, 2]]", "[[0.2, 0.8], [1, 3]]", TOP1, "[1][1] is another one"),
        ("[NaN]", "[NaN]", SAME, None),
        ("[Infinity]", "[1.0]", SAME, "is 1 instead of inf"),
        ("null", "null ", SAME, None),
        (f"[1.0, {10**400}]", f"[1.5, {10**400}]", SAME, "became"),
        ('{"class": 7, "p": 0.98}', '{"class": 2, "p": 0.5}', SAME, ".class is another one"),
        ('{"class": 7, "p": 0.98}', '{"class": 2, "p": 0.5}', TOP1, ".class is another one"),
        ('{"a": 1, "b": 2}', '{"a": 0, "b": 5}', SAME, ".a is another one"),
        ('{"a": 1, "b": 2}', '{"a": 0, "b": 5}', TOP1, ".a is another one"),
        ("[300, 0.9]", "[302, 0.1]", SAME, "[0] is another one"),
        ("[300, 0.9]", "[300, 0.1]", SAME, "[1] is 0.1 instead of 0.9"),
        ("[300, 0.9]", "[302, 0.9]", TOP1, "[0] is another one"),
        ("[3000, 0.9]", "[3001, 0.9]", CLOSE, "[0] is another one"),
        ('{"price": 1203.5, "tax": 88.1}', '{"price": 5.0, "tax": 1.0}', SAME, ".price is 5"),
        ('{"price": 1203.5, "tax": 88.1}', '{"price": 1203.6, "tax": 88.2}', SAME, None),
        ('{"cat": 12.5, "dog": 3.5}', '{"cat": 11.5, "dog": 3.9}', TOP1, None),  # logits
        ('{"cat": 12.5, "dog": 3.5}', '{"cat": 11.5, "dog": 3.9}', SAME, ".cat is 11.5 instead of 12.5"),
        ('{"cat": 0.6, "dog": 0.4}', '{"cat": 1.6, "dog": 0.4}', SAME, ".cat is 1.6 instead of 0.6"),
        ('{"cat": NaN, "dog": 0.4}', '{"cat": 0.6, "dog": 0.4}', SAME, "there is a NaN"),
        ('{"cat": NaN, "dog": 0.4}', '{"cat": 0.4, "dog": NaN}', SAME, "there is a NaN"),
        ("[NaN, 0.6, 0.4]", "[NaN, 0.4, 0.6]", TOP1, "the greatest is 2 instead of 1"),
        ("[0.1, 0.9]", "[0.1, 0.9, 0.2]", TOP1, "has 3 values instead of 2"),
        ('{"a": [1.0]}', '{"a": {"b": 1.0}}', SAME, ".a is another one"),
        ("1", "2", Check("none"), None),
    ],
)
def test_the_rules(expected: str, found: str, check: Check, why: str | None) -> None:
    said = differs(expected.encode(), found.encode(), check)
    assert said is None if why is None else why in str(said)


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(ANSWERS, st.sampled_from([SAME, EXACT, TOP1, CLOSE]))
def test_an_answer_is_itself_however_it_is_written(value: object, check: Check) -> None:
    text = json.dumps(value).encode()
    assert differs(text, text, check) is None
    if check is not EXACT:
        assert differs(text, text + b"\n", check) is None


@given(ANSWERS, ANSWERS)
def test_whatever_comes_is_compared(one: object, other: object) -> None:
    first, second = json.dumps(one).encode(), json.dumps(other).encode()
    for check in (SAME, TOP1, CLOSE):
        assert (differs(first, second, check) is None) == (differs(second, first, check) is None)


@given(st.dictionaries(st.text(), st.integers() | st.floats(0, 1), min_size=1), st.integers())
def test_no_whole_number_of_a_map_may_change(scores: dict[str, float], other: int) -> None:
    whole = next((key for key, value in scores.items() if isinstance(value, int) and value != other), None)
    if whole is not None:
        first, second = (json.dumps(one).encode() for one in (scores, scores | {whole: other}))
        assert all(differs(first, second, check) for check in (SAME, TOP1, CLOSE, EXACT))


@given(st.binary(), st.binary())
def test_bytes_are_compared_too(one: bytes, other: bytes) -> None:
    assert differs(one, one, SAME) is None
    differs(one, other, SAME)
