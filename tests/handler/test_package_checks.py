"""What a package's source tells of its inputs: written out here as AOTInductor writes it."""

from __future__ import annotations

import pytest

from torchkeeper.handler.package_checks import InputCheck, input_checks
from torchkeeper.handler.ports import Size, fixed


def checked(name: str, *lengths: tuple[int, int | None] | int, dtype: str = "float32") -> str:
    """The check of one input: fixed lengths, or their bounds."""
    lines = [f"    int32_t {name}_expected_dtype = aoti_torch_dtype_{dtype}();"]
    for place, length in enumerate(lengths):
        if isinstance(length, int):
            lines.append(f"    if ({length} != {name}_size[{place}]) {{")
            continue
        low, high = length
        lines.append(f"    if ({name}_size[{place}] < {low}) {{")
        if high is not None:
            lines.append(f"    if ({name}_size[{place}] > {high}) {{")
    lines += [f"    if (1 != {name}_stride[{place}]) {{" for place in range(len(lengths))]
    return "\n".join(lines) + "\n"


def given(symbol: str, name: str, place: int) -> str:
    return f"    int64_t {symbol} = {name}_size[{place}];\n"


def test_without_checks_nothing_is_known() -> None:
    assert input_checks("") == []
    assert input_checks("    int32_t a_expected_dtype = aoti_torch_dtype_int64();") == [
        InputCheck("INT64", None)
    ]


def test_lengths_and_bounds() -> None:
    source = checked("a", (1, 8), 4) + checked("b", (2, None), dtype="bool") + checked("c", 3)
    assert input_checks(source) == [
        InputCheck("FP32", (Size(1, 8), fixed(4))),
        InputCheck("BOOL", (Size(2, None),)),
        InputCheck("FP32", (fixed(3),)),
    ]


TWO = checked("a", (1, 8), (1, 8)) + checked("b", (1, 8), (1, 8))


@pytest.mark.parametrize(
    ("source", "symbols", "untold"),
    [
        (checked("a", (1, 8)) + checked("b", (1, 8)) + given("s", "a", 0), ["s", "s"], []),
        (
            checked("a", (1, 8)) + checked("b", (1, 8)) + given("s", "a", 0) + given("t", "b", 0),
            ["s", "t"],
            [],
        ),
        (checked("a", (1, 8)) + checked("b", (2, 16)) + given("s", "a", 0), ["s", None], [("b", 0)]),
        (TWO + given("s", "a", 0) + given("t", "a", 1), ["s", "t", "s", "t"], []),
        (TWO + given("s", "a", 0), ["s", "s", "s", "s"], []),
        (
            TWO + given("s", "a", 0) + given("t", "a", 1) + 'assert_size_stride(b, {t, s}, {1L, 1L}, "i");',
            ["s", "t", "t", "s"],
            [],
        ),
        (
            checked("a", (1, 8))
            + checked("b", (2, 16))
            + given("s", "a", 0)
            + 'assert_size_stride(b, {2L*s}, {1L}, "input");',
            ["s", None],
            [],
        ),
        (checked("a", (1, 8), 4) + given("s", "a", 0) + given("u", "z", 0), ["s"], []),
        (TWO, [None] * 4, []),
    ],
    ids=[
        "one gives it",
        "each gives its own",
        "a multiple",
        "the same place",
        "a square",
        "the other place, as it is said",
        "a multiple that is checked",
        "another's",
        "an unknown form",
    ],
)
def test_lengths_that_must_be_equal(
    source: str, symbols: list[str | None], untold: list[tuple[str, int]]
) -> None:
    checks = input_checks(source)
    sizes = [size for check in checks for size in check.sizes or () if not size.fixed]
    assert [size.symbol for size in sizes] == symbols
    assert [
        (name, place) for name, check in zip("ab", checks, strict=False) for place in check.untold
    ] == untold
