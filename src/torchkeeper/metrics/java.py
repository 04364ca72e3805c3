"""Numbers as Java prints them, in metrics and their logs: scripts written for TorchServe read them."""

from __future__ import annotations

import math
from decimal import Decimal


def java_double(value: float) -> str:
    """A number as Java's Double.toString writes it (`24.0`, `1.23E8`); infinities as Prometheus does."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    number = float(value)
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        return repr(number)
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    assert isinstance(exponent, int)  # it is a letter for infinities only
    text = "".join(map(str, digits))
    power = len(text) - 1 + exponent
    rest = text[1:].rstrip("0") or "0"
    return f"{'-' if sign else ''}{text[0]}.{rest}E{power}"
