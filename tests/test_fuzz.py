"""The fuzz targets, over their seeds and a few mutations of them; `make fuzz` takes longer."""

from __future__ import annotations

import pytest

from targets import TARGETS, mutated

MUTATIONS = 200


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_finds_nothing_in_its_seeds_and_what_is_like_them(name: str) -> None:
    target = TARGETS[name]
    seeds = [seed[: target.longest] for seed in target.seeds()]
    assert seeds
    for data in (b"", *seeds, *mutated(seeds, MUTATIONS)):
        target.run(data)
