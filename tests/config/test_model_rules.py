"""What a setting of a model must be, as YAML has it and as JSON is read."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from torchkeeper.config.model_rules import (
    Rule,
    boolean,
    choice,
    count,
    machine,
    milliseconds,
    moment,
    numbers,
    seconds,
    tensors,
    whole,
)

TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
WORD = choice("cpu", "gpu")

FITS: list[tuple[Rule[Any], list[object], list[object]]] = [
    (whole(1), [1, 2**31 - 1], [0, 2**31, True, "1", 1.0, None]),
    (count, [0, 10_000], [-1, 10_001]),
    (milliseconds, [0, 100], [-1, 0.5]),
    (moment, [0, 2**63 - 1], [2**63]),
    (seconds, [1, 0.5, 1e300, 10**300], [0, -1, math.inf, math.nan, True, "1", 10**400]),
    (boolean, [True, False], [0, 1, "true", None]),
    (WORD, ["cpu", "gpu"], ["CPU", "", None, {"cpu": 1}, ["cpu"]]),
    (numbers, [[], [0, 1]], [[-1], [True], ["1"], 1, None, (0,)]),
    (
        tensors,
        [[], [TENSOR]],
        [[{}], [TENSOR | {"more": 1}], [TENSOR | {"shape": [-2]}], [TENSOR | {"name": 1}], TENSOR, None],
    ),
]


@pytest.mark.parametrize(("rule", "right", "wrong"), FITS, ids=lambda row: getattr(row, "wanted", ""))
def test_what_fits(rule: Rule[Any], right: list[object], wrong: list[object]) -> None:
    assert [value for value in right if not rule.fits(value)] == []
    assert [value for value in wrong if rule.fits(value)] == []


READ: list[tuple[Rule[Any], object, object]] = [
    (count, 3, 3),
    (count, "3", 3),
    (count, "-3", -3),
    (count, 3.9, 3),
    (count, [3], 3),
    (count, ["3"], 3),
    (seconds, 3, 3.0),
    (seconds, "0.5", 0.5),
    (seconds, [2], 2.0),
    (WORD, "gpu", "gpu"),
    (WORD, ["gpu"], "gpu"),
]


@pytest.mark.parametrize(("rule", "found", "value"), READ)
def test_how_json_is_read(rule: Rule[Any], found: object, value: object) -> None:
    assert rule.read(found) == value


UNREADABLE: list[tuple[Rule[Any], object, type[Exception]]] = [
    *((count, value, ValueError) for value in (True, "3.5", "x", "", "١", {}, math.inf, math.nan)),
    *((count, value, TypeError) for value in ([], [1, 2])),
    *((seconds, value, ValueError) for value in (True, "x", {}, "inf", math.nan, 10**400)),
    *((seconds, value, TypeError) for value in ([], [1, 2])),
    *((WORD, value, TypeError) for value in ("tpu", 7, {}, [], ["cpu", "gpu"])),
    *((rule, value, ValueError) for rule in (boolean, numbers, tensors) for value in (True, [], "x")),
]


@pytest.mark.parametrize(("rule", "found", "error"), UNREADABLE)
def test_what_cannot_be_read_and_what_is_passed_over(
    rule: Rule[Any], found: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        rule.read(found)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (whole(0), "a whole number"),
        (whole(1), "a whole number from 1"),
        (whole(0, 7), "a whole number from 0 to 7"),
        (milliseconds, "a whole number of milliseconds"),
        (seconds, "a number of seconds"),
        (WORD, "cpu or gpu"),
        (choice("a", "b", "c"), "a, b or c"),
    ],
)
def test_what_is_wanted(rule: Rule[Any], wanted: str) -> None:
    assert rule.wanted == wanted


@pytest.mark.parametrize(
    ("rule", "text", "fits"),
    [
        (count, "10000", True),
        (count, "10001", False),
        (count, "-1", False),
        (seconds, "1", True),
        (seconds, "0", False),
        (seconds, "2147483648", False),
        (WORD, "anything", True),
    ],
)
def test_what_a_request_may_say(rule: Rule[Any], text: str, fits: bool) -> None:
    with contextlib.nullcontext() if fits else pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, rule.parameter, strict=False)


@pytest.mark.parametrize("rule", [numbers, tensors])
def test_lists_are_kept_so_that_nobody_changes_them(rule: Rule[Any]) -> None:
    assert rule.plain([]) == ()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from([row[0] for row in FITS]), ANY)
@example(seconds, 10**400)
@example(count, 10**400)
@example(count, 1e300)
def test_anything_is_read_passed_over_or_refused(rule: Rule[Any], value: object) -> None:
    assert rule.fits(value) in (True, False)
    with contextlib.suppress(ValueError, TypeError):
        assert rule.fits(rule.read(value)) in (True, False)


@pytest.mark.parametrize(
    "value", [{}, [], {"cores": 0}, {"cores": True}, {"cores": 2, "colour": 1}, {"cores": 2, "features": [1]}]
)
def test_what_names_no_machine(value: object) -> None:
    assert not machine.fits(value)
