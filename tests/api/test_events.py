"""Server-sent events: what a standard reader gets is what was sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.api.streaming import event


@given(st.text())
def test_lines_come_back(text: str) -> None:
    lines = event(text.encode()).decode().removesuffix("\n\n").split("\n")
    assert all(line.startswith("data: ") for line in lines)
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert "\n".join(line.removeprefix("data: ") for line in lines) == plain
