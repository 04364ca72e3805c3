"""Where a row's data and target are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from torchkeeper.handler.errors import PredictionException, UnreadableRows
from torchkeeper.handler.rows import payload, target, targets


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"data": b"d"}, b"d"),
        ({"body": b"b"}, b"b"),
        ({"data": b"", "body": b"b"}, b"b"),
        ({"body": {"data": "x", "target": 1}}, "x"),
        ({"body": {"other": "x"}}, {"other": "x"}),
        (b"raw", b"raw"),
        ([[1.0]], [[1.0]]),
    ],
)
def test_payload(row: Any, expected: Any) -> None:
    assert payload(row) == expected


def test_a_row_without_data_is_named() -> None:
    with pytest.raises(ValueError, match=r"this one has 'target'$"):
        payload({"target": 1})


@pytest.mark.parametrize(
    ("read", "row"),
    [
        (payload, {"\x89PNG" * 30_000: b""}),
        (payload, {f"field {number}": b"" for number in range(1000)}),
        (target, {"target": "1" + "x" * 100_000}),
        (target, {"target": ["x" * 100_000]}),
        (target, {"target": float("inf")}),
        (target, {"target": {"x": list(range(10_000))}}),
    ],
)
def test_an_error_repeats_little_of_what_the_client_sent(read: Callable[[Any], Any], row: Any) -> None:
    with pytest.raises(ValueError, match=r"^a request needs|^target must be") as raised:
        read(row)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"raw", 0),
        ({"data": b"x"}, 0),
        ({"target": None}, 0),
        ({"target": b""}, 0),
        ({"target": 3}, 3),
        ({"target": 3.0}, 3),
        ({"target": "3"}, 3),
        ({"target": bytearray(b"3")}, 3),
        ({"target": [1, "2"]}, (1, 2)),
        ({"body": {"data": "x", "target": 4}}, 4),
    ],
)
def test_target(row: Any, expected: Any) -> None:
    assert target(row) == expected


@pytest.mark.parametrize("given", ["seven", b"\xff", 3.5, {}])
def test_no_number_is_named_with_its_row(given: Any) -> None:
    with pytest.raises(ValueError, match="request 1 of the batch: target must be the number of a class"):
        targets([{}, {"target": given}])


@pytest.mark.parametrize(
    "given", ["9" * 30, b"-" + b"9" * 30, 1 << 63, -(1 << 63), 1e300, "9" * 100_000, [1, "9" * 20]]
)
def test_a_target_that_no_tensor_has_an_index_for_is_the_clients_fault(given: Any) -> None:
    with pytest.raises(PredictionException) as raised:
        target({"target": given})
    assert raised.value.error_code == 400
    assert raised.value.message.endswith(" is out of range: no model has such a class")
    assert len(raised.value.message) < 1000
    with pytest.raises(UnreadableRows) as several:
        targets([{"target": 1}, {"target": given}])
    assert list(several.value.rows) == [1]
