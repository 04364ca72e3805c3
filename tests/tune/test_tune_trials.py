"""Whom a trial asks, and what a batch took."""

from __future__ import annotations

import pytest

from torchkeeper.tune.refusal import TuneRefused
from torchkeeper.tune.trial_server import BatchFigures
from torchkeeper.tune.trials import mean_batch, routed


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("/predictions/m", "/predictions/m-trial1"),
        ("/predictions/m?top=5", "/predictions/m-trial1?top=5"),
        ("/v1/models/m:predict", "/v1/models/m-trial1:predict"),
        ("/v2/models/m/infer", "/v2/models/m-trial1/infer"),
        ("/m/m", "/m-trial1/m"),
    ],
)
def test_the_path_names_the_trial(route: str, expected: str) -> None:
    assert routed(route, "m", "m-trial1") == expected


@pytest.mark.parametrize("route", ["/predictions/other", "predictions/m", "/predictions/mm", "m", ""])
def test_a_path_that_does_not_name_the_model_is_refused(route: str) -> None:
    with pytest.raises(TuneRefused, match=r"--route .* must name the model"):
        routed(route, "m", "m-trial1")


def test_a_batch_is_the_mean_of_those_between() -> None:
    before, after = BatchFigures(10, 100, 1.0), BatchFigures(14, 164, 1.2)
    assert mean_batch(before, after) == (16.0, pytest.approx(0.05))
    assert mean_batch(after, after) == (0.0, 0.0)
