"""The exceptions by which a handler chooses what its clients see."""

from __future__ import annotations

import pytest

from torchkeeper.handler.errors import PredictionException, RowsApart, UnreadableRow, UnreadableRows


def test_a_message_and_a_status_for_the_client() -> None:
    error = PredictionException("no such picture", 404)
    assert (error.message, error.error_code, str(error)) == ("no such picture", 404, "no such picture : 404")
    assert PredictionException("x").error_code == 500


def test_rows_that_cannot_be_read_are_named() -> None:
    rows = {3: "no picture", 1: "too small"}
    error = UnreadableRows(rows)
    rows[2] = "more"
    assert error.rows == {3: "no picture", 1: "too small"}
    assert str(error) == "request 3 of the batch: no picture; request 1 of the batch: too small"


def test_one_row_is_a_case_of_many() -> None:
    error = UnreadableRow(2, "no picture")
    assert (error.place, error.text, error.rows) == (2, "no picture", {2: "no picture"})
    with pytest.raises(UnreadableRows, match="request 2 of the batch: no picture"):
        raise error
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("groups", "count", "fit"),
    [
        ([[0, 2], [1]], 3, True),
        ([[0, 1]], 2, False),
        ([[0], []], 1, False),
        ([[0], [0]], 2, False),
        ([[0], [1]], 3, False),
        ([[0], [5]], 2, False),
    ],
)
def test_groups_are_all_rows_and_each_less_than_all(groups: list[list[int]], count: int, fit: bool) -> None:
    assert RowsApart(groups).are_of(count) is fit
