"""Short work at once, long work in a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from torchkeeper.serving.offload import LONG, offload


@pytest.mark.parametrize(("size", "here"), [(0, True), (LONG - 1, True), (LONG, False)])
def test_long_work_leaves_the_event_loop(size: int, here: bool) -> None:
    async def main() -> None:
        assert (await offload(size, threading.get_ident) == threading.get_ident()) is here

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, LONG])
def test_what_work_raises_is_raised(size: int) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(offload(size, int, "x"))
