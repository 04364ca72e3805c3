"""The JSON of snapshots: read, also TorchServe's own, and written as TorchServe writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.versions import KEPT, kept
from torchkeeper.config.model_key import SettingSource
from torchkeeper.config.model_snapshot import (
    ModelSnapshot,
    VersionSnapshot,
    format_model_snapshot,
    parse_model_snapshot,
    read_json,
)
from torchkeeper.config.properties import parse_properties

#: What TorchServe 0.12.0 itself wrote; see `test_snapshot`.
RECORDED = Path(__file__).parents[1] / "data" / "20261125043925467-snapshot.cfg"


def test_its_models_are_written_back_byte_for_byte() -> None:
    values = {found.key: found.value for found in parse_properties(RECORDED.read_text())}
    models = parse_model_snapshot(values["model_snapshot"], [])
    assert models is not None
    assert format_model_snapshot(models) == values["model_snapshot"]


def test_a_snapshot_of_the_kserve_image_lacks_fields() -> None:
    text = (
        '{"name":"startup.cfg","modelCount":1,"models":{"mnist":{"1.0":{"defaultVersion":true,'
        '"marName":"mnist.mar","minWorkers":"1","maxWorkers":5,"batchSize":1,"maxBatchDelay":10,'
        '"responseTimeout":120}}}}'
    )
    complaints: list[str] = []
    assert parse_model_snapshot(text, complaints) == ModelSnapshot(
        "startup.cfg", 0, (kept("mnist", "1.0", "mnist.mar", True, 1, 5, 1, 10, 120),)
    )
    assert not complaints


VERSIONS = st.lists(
    st.builds(
        kept,
        st.text(),
        st.text(),
        st.text(min_size=1),
        st.booleans(),
        st.integers(0, 99),
        st.integers(0, 99),
        st.integers(1, 999),
        st.integers(0, 99_999),
        st.one_of(st.integers(1, 999), st.floats(0, 999, exclude_min=True)),
        st.integers(1, 999),
        st.sampled_from(["python", "python3"]),
        st.integers(1, 8),
    ),
    unique_by=lambda version: (version.name, version.version),
)


@given(VERSIONS)
def test_a_round_trip(versions: list[VersionSnapshot]) -> None:
    snapshot = ModelSnapshot("n.cfg", 1, tuple(sorted(versions, key=lambda version: version.name)))
    assert parse_model_snapshot(format_model_snapshot(snapshot), []) == snapshot


def snapshot_of(fields: dict[str, Any]) -> str:
    return json.dumps({"name": "s.cfg", "created": 1, "models": {"m": {"1.0": fields}}})


def test_a_version_keeps_what_its_row_says_and_nothing_that_is_not_said() -> None:
    values = {"min_workers": 2, "batch_size": None, "device_type": "cpu", "response_timeout": 0.5}
    version = VersionSnapshot.of("m", "1.0", "m.mar", default_version=True, values=values)
    assert version.given.values() == {"min_workers": 2, "response_timeout": 0.5}
    told = version.given.told["min_workers"]
    assert (told.source, told.place) == (SettingSource.SNAPSHOT, "m/1.0/minWorkers")
    assert "device_type" not in KEPT


def test_times_are_written_as_short_as_they_can_be() -> None:
    values = {"response_timeout": 120.0, "startup_timeout": 0.5, "parallel_level": 0}
    version = VersionSnapshot.of("m", "1.0", "m.mar", default_version=True, values=values)
    written = json.loads(format_model_snapshot(ModelSnapshot("s.cfg", 1, (version,))))
    assert written == {
        "name": "s.cfg",
        "modelCount": 1,
        "created": 1,
        "models": {
            "m": {
                "1.0": {
                    "defaultVersion": True,
                    "marName": "m.mar",
                    "responseTimeout": 120,
                    "startupTimeout": 0.5,
                }
            }
        },
    }
    assert '"responseTimeout": 120,' in format_model_snapshot(ModelSnapshot("s.cfg", 1, (version,)))


@pytest.mark.parametrize(
    ("fields", "default", "workers"),
    [
        ({}, True, 1),
        ({"defaultVersion": False}, False, 1),
        ({"defaultVersion": "False"}, False, 1),
        ({"defaultVersion": "true"}, True, 1),
        ({"minWorkers": 0}, True, 0),
        ({"minWorkers": "3"}, True, 3),
    ],
)
def test_what_older_snapshots_do_not_say(fields: dict[str, Any], default: bool, workers: int) -> None:
    complaints: list[str] = []
    found = parse_model_snapshot(snapshot_of({"marName": "m.mar", **fields}), complaints)
    assert found is not None
    (version,) = found.versions
    assert (version.default_version, version.given.values()["min_workers"]) == (default, workers)
    assert not complaints


def test_a_value_that_makes_no_sense_is_complained_of() -> None:
    complaints: list[str] = []
    found = parse_model_snapshot(snapshot_of({"marName": "m.mar", "batchSize": 0}), complaints)
    assert found is not None
    assert complaints == ["m/1.0/batchSize: 0 must be a whole number from 1 or auto"]
    assert "batch_size" not in found.versions[0].given.values()


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_text_is_no_snapshot(text: str) -> None:
    assert parse_model_snapshot(text, []) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be JSON of the form"),
        ("{}", "must be JSON of the form"),
        ('{"models": []}', "must be JSON of the form"),
        ('{"models": {"m": 1}}', "must be JSON of the form"),
        ('{"models": {"m": {"1.0": 1}}}', "m/1.0 must be an object"),
        (snapshot_of({}), "m/1.0 names no marName"),
        (snapshot_of({"marName": 7}), "m/1.0 names no marName"),
        (snapshot_of({"marName": "m", "minWorkers": -1}), "m/1.0/minWorkers: -1 must be a whole number"),
        (snapshot_of({"marName": "m", "runtimeType": "ruby"}), "m/1.0/runtimeType: 'ruby' must be python"),
        ('{"models": {}, "created": "now"}', "created: 'now' must be a whole number"),
        ('{"models": {}, "created": [1, 2]}', "created: [1, 2] must be a whole number"),
        ('{"models": {}, "created": 1e999}', "created: inf must be a whole number"),
    ],
)
def test_what_is_no_snapshot(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        parse_model_snapshot(text, [])


def test_json_is_read() -> None:
    assert read_json(' {"a": [1]} ') == {"a": [1]}
    with pytest.raises(ValueError, match="is not JSON"):
        read_json("{")


def test_what_warm_up_decides_is_kept_as_it_was_said() -> None:
    """A server that starts from it must not take for granted what one of its workers once found."""
    version = VersionSnapshot.of("m", "1.0", "m.mar", default_version=True, values={"batch_size": "auto"})
    text = format_model_snapshot(ModelSnapshot("s.cfg", 1, (version,)))
    assert json.loads(text)["models"]["m"]["1.0"]["batchSize"] == "auto"
    complaints: list[str] = []
    found = parse_model_snapshot(text, complaints)
    assert found is not None
    assert found.versions[0].given.values()["batch_size"] == "auto"
    assert not complaints
