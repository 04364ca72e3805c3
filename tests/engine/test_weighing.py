"""What requests cost, by tables: bytes, elements, what a header says, and shapes that keep apart."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.engine.batching.policy import lane_of
from torchkeeper.engine.queue import Entry
from torchkeeper.engine.weighing import Weigher, shapes_of, weigher
from torchkeeper.errors import BadRequest
from torchkeeper.wire.messages import Input, Kind, Part

V2 = "kservev2"


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def weighed(loop: asyncio.AbstractEventLoop, weigh: Weigher | None, request: Input) -> Entry:
    entry = Entry(request, loop.create_future(), 0, 0, lane_of(request))
    assert weigh is not None
    weigh.weigh(entry)
    return entry


def by(cost: str, envelope: str | None = None) -> Weigher | None:
    return weigher(ModelSettings(batch_cost=cost, max_batch_cost=9.0), envelope)


def tensor(shape: object, name: str = "x", datatype: str = "FP32", **more: object) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": [0.5], **more}


def v2(*tensors: object, behind: bytes = b"", envelope: str | None = V2, **headers: str) -> Input:
    text = json.dumps({"id": "1", "inputs": tensors}).encode()
    said = {"Inference-header-content-Length": str(len(text))} if behind else {}
    return Input("r", Kind.PREDICT, (Part("body", text + behind),), {**said, **headers}, envelope)


def test_where_nothing_is_said_nothing_is_weighed() -> None:
    assert weigher(ModelSettings(), None) is None
    assert weigher(ModelSettings(batch_cost="bytes"), None) is None, "there is no bound"


def test_items_and_bytes(loop: asyncio.AbstractEventLoop) -> None:
    parts = (Part("data", b"12345"), Part("more", b"67", rest=(b"8", b"9")))
    request = Input("r", Kind.PREDICT, parts, {})
    assert weighed(loop, by("items"), request).cost == 1
    assert weighed(loop, by("bytes"), request).cost == 9


@pytest.mark.parametrize(
    ("tensors", "elements"),
    [
        ([tensor([2, 3])], 6),
        ([tensor([2, 3]), tensor([4], "y")], 10),
        ([tensor([])], 1),
        ([tensor(7)], 7),
        ([tensor([3, 0, 5])], 0),
        ([tensor([5], datatype="BYTES")], 5),
        ([tensor([2**26, 2**26])], 2**52),
    ],
)
def test_elements_are_those_of_all_tensors(
    tensors: list[object], elements: int, loop: asyncio.AbstractEventLoop
) -> None:
    assert weighed(loop, by("elements"), v2(*tensors)).cost == elements
    assert weighed(loop, by("elements"), v2(*tensors, behind=b"\xff" * 9)).cost == elements


def test_an_envelope_of_all_requests_holds_for_those_that_name_none(loop: asyncio.AbstractEventLoop) -> None:
    request = v2(tensor([2, 3]), envelope=None)
    assert weighed(loop, by("elements", V2), request).cost == 6
    form = Input("r", Kind.PREDICT, (Part("data", request.parts[0].value), Part("body", b"")), {})
    assert weighed(loop, by("elements", V2), form).cost == 6


@pytest.mark.parametrize("envelope", [None, "kserve", "json"])
def test_what_has_no_tensors_is_refused_with_the_way_to_go(
    envelope: str | None, loop: asyncio.AbstractEventLoop
) -> None:
    with pytest.raises(BadRequest, match=r"tensors only \(batchCost: elements\): ask it by KServe v2"):
        weighed(loop, by("elements"), v2(tensor([1]), envelope=envelope))
    shaped = weigher(ModelSettings(batch_by="shape"), None)
    with pytest.raises(BadRequest, match=r"tensors only \(batchBy: shape\)"):
        weighed(loop, shaped, v2(tensor([1]), envelope=envelope))


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (v2(), "inputs has 0 tensors"),
        (v2(*[tensor([1])] * 10_001), "inputs has 10001 tensors"),
        (v2(tensor([-1, 3])), r"the shape of inputs\[0\] must say all sizes"),
        (v2(tensor([1]), tensor([2**40, 2**40])), r"inputs\[1\] has more than 9007199254740992 elements"),
        (v2(tensor([2**70])), "more than 9007199254740992 elements"),
        (v2(tensor([1] * 65)), "more than 64 dimensions"),
        (v2(tensor([True])), "Expected `int`, got `bool`"),
        (v2(tensor("3")), "no infer request"),
        (v2({"name": "x", "shape": [1]}), "missing required field `datatype`"),
        (v2(3), "Expected `object`, got `int`"),
        (Input("r", Kind.PREDICT, (Part("body", b'{"a": ' + b"[" * 100_000),), {}, V2), "nested too deeply"),
        (Input("r", Kind.PREDICT, (Part("body", b'{"inputs": "\xff"}'),), {}, V2), "no infer request"),
        (Input("r", Kind.PREDICT, (Part("body", b"[]"),), {}, V2), "Expected `object`, got `array`"),
        (Input("r", Kind.PREDICT, (Part("other", b"{}"),), {}, V2), "has no body"),
        (Input("r", Kind.PREDICT, (), {}, V2), "has no body"),
        *[
            (v2(tensor([1]), **{"Inference-Header-Content-Length": length}), "must be a number of at most")
            for length in ("-1", "x", "99999", "٣", "9" * 5000)
        ],
    ],
)
def test_tensors_that_cannot_be_weighed_are_a_bad_request(
    request_: Input, why: str, loop: asyncio.AbstractEventLoop
) -> None:
    with pytest.raises(BadRequest, match=rf"cannot be weighed \(batchCost: elements\): .*{why}"):
        weighed(loop, by("elements"), request_)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["inputs", "name", "shape", "datatype"]), inner, max_size=4)
        ),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_read_or_said(body: bytes) -> None:
    request = Input("r", Kind.PREDICT, (Part("body", body),), {}, V2)
    with contextlib.suppress(ValueError):
        assert shapes_of(request)


@pytest.mark.parametrize(("said", "cost"), [("3", 3), ("0", 0), (" 2.5 ", 2.5), ("0012", 12)])
def test_a_header_says_what_a_request_costs(said: str, cost: float, loop: asyncio.AbstractEventLoop) -> None:
    request = Input("r", Kind.PREDICT, (), {"x-tokens": said})
    assert weighed(loop, by("X-Tokens"), request).cost == cost


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "needs a header X-Tokens"),
        ({"X-Token": "1"}, "needs a header X-Tokens"),
        *[
            ({"X-Tokens": said}, "must be a number from 0")
            for said in ("", "-1", "many", "nan", "inf", "1e3", "0x1", "1,5", "٣", "1" * 16, "1_000")
        ],
    ],
)
def test_a_header_that_is_missing_or_no_number_is_a_bad_request(
    headers: dict[str, str], why: str, loop: asyncio.AbstractEventLoop
) -> None:
    with pytest.raises(BadRequest, match=why):
        weighed(loop, by("X-Tokens"), Input("r", Kind.PREDICT, (), headers))


@pytest.mark.parametrize("cost", ["bytes", "elements", "X-Tokens"])
def test_a_description_costs_nothing(cost: str, loop: asyncio.AbstractEventLoop) -> None:
    weigh = weigher(ModelSettings(batch_cost=cost, max_batch_cost=9.0, batch_by="shape"), None)
    request = Input("r", Kind.DESCRIBE, (), {"describe": "True"})
    entry = weighed(loop, weigh, request)
    assert (entry.cost, entry.lane) == (0, lane_of(request))


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (v2(tensor([2, 3])), v2(tensor([2, 3], data=[7])), True),
        (v2(tensor([2, 3])), v2(tensor([2, 3]), behind=b"xx"), True),
        (v2(tensor([2, 3])), v2(tensor([3, 2])), False),
        (v2(tensor([2, 3])), v2(tensor([6])), False),
        (v2(tensor([2])), v2(tensor([2]), tensor([2], "y")), False),
        (v2(tensor([2])), v2(tensor([2], datatype="INT64")), False),
        (v2(tensor([2])), v2(tensor([2], "y")), False),
        (v2(tensor(2)), v2(tensor([2])), True),
        (v2(tensor([2])), Input("r", Kind.EXPLAIN, v2(tensor([2])).parts, {}, V2), False),
    ],
)
def test_shapes_keep_apart(one: Input, other: Input, together: bool, loop: asyncio.AbstractEventLoop) -> None:
    weigh = weigher(ModelSettings(batch_by="shape"), None)
    lanes: Any = [weighed(loop, weigh, request).lane for request in (one, other)]
    assert (lanes[0] == lanes[1]) is together
    assert {lanes[0]: 1}[lanes[0]] == 1, "a lane is a key"
    assert weighed(loop, by("elements"), one).lane == lane_of(one), "costs alone keep nobody apart"
