"""The bad archives and pictures of the tests: what is refused there is measured here."""

from __future__ import annotations

import sys

from servebench.paths import TESTS

sys.path += [str(TESTS), str(TESTS / "corpus" / "archives")]

from bad_archives import archive, bad_archives  # where it lies must be known first

from bombs import png

__all__ = ["archive", "bad_archives", "png"]
