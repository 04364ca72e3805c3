"""What crosses between the processes: values that nobody changes, and that arrive as they were sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import Load, encode
from torchkeeper.wire.messages import Declared, Failure, Input, Kind, ModelSpec, Part, Reply, Sample

text = st.text(max_size=20)
#: What JSON and YAML files may hold.
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
specs = st.builds(
    ModelSpec,
    name=text,
    version=text,
    model_dir=text,
    manifest=st.dictionaries(text, documents, max_size=3),
    handler=text,
    envelope=st.none() | text,
    gpu_id=st.none() | st.integers(0, 16),
    batch_size=st.integers(1, 2**31),
    threads=st.none() | st.integers(1, 64),
    limit_max_image_pixels=st.booleans(),
    max_image_pixels=st.none() | st.integers(1, 2**31),
    decode_input_request=st.booleans(),
    model_config=st.dictionaries(text, documents, max_size=3),
    metrics=st.lists(
        st.builds(Declared, text, text, text, st.lists(text, max_size=2).map(tuple)), max_size=2
    ).map(tuple),
)


@given(specs)
def test_a_worker_is_told_of_its_model_what_the_front_knows(spec: ModelSpec) -> None:
    assert FrameReader().feed(encode(Load(spec, 1))) == [(Load(spec, 1), b"")]


VALUES: list[Any] = [
    Part("data", b"x"),
    Input("id", Kind.PREDICT, (), {}),
    Reply(b"body"),
    Failure(503, "Prediction failed"),
    Sample("n", 1.0, "ms", "GAUGE", ()),
    Declared("n", "counter", "count"),
    ModelSpec("m", "1.0", "/", {}, "h", None, None, 1, None),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_equal_by_what_they_say_and_nobody_changes_them(value: Any) -> None:
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    assert type(value)(**fields) == value
    with pytest.raises(AttributeError):
        setattr(value, value.__struct_fields__[0], "other")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Reply(b""), "headers"),
        (lambda: ModelSpec("m", "1.0", "/", {}, "h", None, None, 1, None), "model_config"),
    ],
)
def test_no_two_values_share_what_they_hold(make: Any, field: str) -> None:
    one, other = make(), make()
    getattr(one, field)["key"] = "value"
    assert getattr(other, field) == getattr(make(), field) == {}


def test_what_is_asked_keeps_its_number() -> None:
    assert [(kind.name, int(kind)) for kind in Kind] == [("PREDICT", 0), ("EXPLAIN", 1), ("DESCRIBE", 2)]
