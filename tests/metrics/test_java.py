"""Numbers as Java's Double.toString writes them."""

from __future__ import annotations

import pytest

from torchkeeper.metrics.java import java_double


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (24, "24.0"),
        (0, "0.0"),
        (-0.0, "-0.0"),
        (0.05, "0.05"),
        (0.001, "0.001"),
        (0.00099, "9.9E-4"),
        (1e-5, "1.0E-5"),
        (-2.5e-7, "-2.5E-7"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (123_000_000, "1.23E8"),
        (123_456_789.25, "1.2345678925E8"),
        (1e22, "1.0E22"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers(value: float, expected: str) -> None:
    assert java_double(value) == expected
