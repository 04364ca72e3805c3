"""Pictures that are too large: refused by their headers, by all of Pillow, before memory is spent."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from bombs import TOO_LARGE, bombs, png  # type: ignore[import-not-found]  # pytest finds it
from torchkeeper.handler.pixels import bound_pixels

LIMIT = 50_000_000
BOMBS = bombs()


@pytest.fixture(autouse=True)
def _bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit, for one test; Pillow's own rules again behind it."""
    for holder, name in (
        (Image, "MAX_IMAGE_PIXELS"),
        (Image, "_decompression_bomb_check"),
        (PngImagePlugin, "MAX_TEXT_MEMORY"),
    ):
        monkeypatch.setattr(holder, name, getattr(holder, name))
    bound_pixels(LIMIT)


def memory(what: str) -> int:
    """Bytes that this process has (VmRSS), or had at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_no_memory_and_is_named(name: str) -> None:
    picture, said = BOMBS[name]
    Path("/proc/self/clear_refs").write_text("5")  # the most begins anew
    before = memory("VmRSS")
    with pytest.raises((Image.DecompressionBombError, ValueError), match=said):
        Image.open(io.BytesIO(picture)).load()
    assert memory("VmHWM") - before < 50 << 20
    assert len(picture) < 1 << 17


def test_no_filter_of_warnings_lifts_it_and_none_makes_it_less() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Image.DecompressionBombError, match=TOO_LARGE):
            Image.open(io.BytesIO(BOMBS["png"][0]))
        warnings.simplefilter("error")
        assert Image.open(io.BytesIO(png(7071, 7071))).size == (7071, 7071)


def test_a_limit_that_a_handler_sets_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.MAX_IMAGE_PIXELS == LIMIT
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert Image.open(io.BytesIO(BOMBS["png"][0])).size == (9000, 9000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.warns(Image.DecompressionBombWarning, match="exceeds limit of 40 pixels"):
        Image.open(io.BytesIO(png(8, 8)))
    with pytest.raises(Image.DecompressionBombError, match="exceeds limit of 80 pixels"):
        Image.open(io.BytesIO(png(9, 9)))


def test_the_last_limit_holds() -> None:
    bound_pixels(100)
    with pytest.raises(Image.DecompressionBombError, match="has 121 pixels, more than the 100 of"):
        Image.open(io.BytesIO(png(11, 11)))
    bound_pixels(200)
    assert Image.open(io.BytesIO(png(11, 11))).size == (11, 11)
