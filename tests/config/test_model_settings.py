"""The table of what can be set for a model: every source passes through it, and says the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.api.body import parse_parameters
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.model_key import In, SettingSource
from torchkeeper.config.model_settings import (
    TABLE,
    GivenSettings,
    ModelSettings,
    from_json,
    from_request,
    resolve,
)
from torchkeeper.config.settings import CommandLine, Settings, load_settings, said_of_models
from torchkeeper.config.table import BY_NAME
from torchkeeper.errors import SettingsError
from torchkeeper.serving.description import Description
from torchkeeper.serving.parameters import Register, T, fitting

#: A value of each key that is not its default, as YAML and JSON hold it.
OTHER: dict[str, Any] = {
    "minWorkers": 2,
    "maxWorkers": 3,
    "batchSize": 4,
    "maxBatchDelay": 5,
    "responseTimeout": 6,
    "startupTimeout": 7,
    "runtimeType": "python3",
    "parallelLevel": 2,
    "maxRetryTimeoutInSec": 8,
    "clientTimeoutInMills": 9,
    "jobQueueSize": 10,
    "jobQueueBytes": 11,
    "deviceType": "cpu",
    "deviceIds": [1],
    "useJobTicket": True,
    "useVenv": True,
    "retryOnWorkerDeath": False,
    "maxRequestsPerWorker": 1000,
    "maxWorkerRss": 2000,
    "splitFailedBatches": False,
    "quarantineTimeInSec": 60,
    "batchPolicy": "delay",
    "latencyTarget": 50,
    "batchCost": "bytes",
    "maxBatchCost": 12.5,
    "batchBy": "shape",
    "preload": False,
    "shareImports": False,
    "shareWeights": True,
    "autoscale": True,
    "sandbox": "strict",
    "sandboxNetwork": "none",
    "sandboxLimits": {"nofile": 100},
    "v2Inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
    "v2Outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    "execution": {"threads": 2},
    "tunedFor": {"cores": 2, "features": ["avx2"]},
}


def read(kind: type[T], query: bytes, content_type: str | None, body: bytes) -> T:
    """The parameters of a request over HTTP."""
    return fitting(kind, parse_parameters(query, content_type, body))


def settings_of(folder: Path, text: str = "") -> tuple[Settings, tuple[str, ...]]:
    (folder / "config.properties").write_text(text)
    return load_settings(CommandLine(), {}, folder)


def models_of(folder: Path, found: object) -> tuple[GivenSettings, tuple[str, ...]]:
    """What the `models` JSON says of version 1.0 of m."""
    settings, warnings = settings_of(folder, f"models={json.dumps({'m': {'1.0': found}})}\n")
    return settings.models["m"]["1.0"], warnings


def test_every_row_is_a_field_of_its_names_and_settings() -> None:
    assert {row.attribute for row in TABLE} == {one.name for one in dataclasses.fields(ModelSettings)} - {
        "raw",
        "refused",
        "origins",
    }
    assert {row.name for row in TABLE} == OTHER.keys()
    for row in TABLE:
        assert not row.setting or row.setting in BY_NAME
        assert not row.parameter or row.parameter in Register.__struct_fields__
        assert In.DESCRIPTION not in row.places or row.name in Description.__struct_fields__
        assert row.default in (None, ()) or row.rule.fits(row.default)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_key_says_the_same_wherever_it_stands(tmp_path: Path, row: Any) -> None:
    value = OTHER[row.name]
    kept = row.rule.plain(value)
    if In.YAML in row.places:
        told, warnings = parse_model_config(json.dumps({row.name: value}), "m.yaml")
        assert not warnings
        assert told.values() == {row.attribute: kept}
        assert str(told.told[row.attribute]) == "model-config.yaml/m.yaml"
    for place, source in ((In.MODELS, SettingSource.MODELS), (In.SNAPSHOT, SettingSource.SNAPSHOT)):
        complaints: list[str] = []
        told = from_json({row.name: value}, "m/1.0", source, complaints)
        assert told.values() == ({row.attribute: kept} if place in row.places else {})
        assert not complaints
    if row.parameter:
        request = read(Register, f"{row.parameter}={value}".encode(), None, b"")
        told = from_request({name: getattr(request, name) for name in request.__struct_fields__})
        assert told.values() == {row.attribute: kept}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_value_of_no_type_costs_the_key_in_yaml_and_names_it(row: Any) -> None:
    found = {"batchSize": 2, row.name: {"no": "value"}}
    told, warnings = parse_model_config(json.dumps(found), "m.yaml")
    assert told.raw == found
    if row.rule.refuses is not None or row.rule.strict:
        assert (told.values(), warnings) == ({"batch_size": 2}, ())
        assert told.refused[0].startswith(f"m.yaml: {row.name}")
    elif In.YAML in row.places:
        assert row.attribute not in told.told
        assert warnings == (
            f"m.yaml: {row.name}: {{'no': 'value'}} must be {row.rule.wanted} and is ignored",
        )


@pytest.mark.parametrize(
    ("found", "values"),
    [
        ({"minWorkers": "2"}, {"min_workers": 2}),
        ({"minWorkers": "+2"}, {"min_workers": 2}),
        ({"batchSize": 2.9}, {"batch_size": 2}),
        ({"batchSize": [3]}, {"batch_size": 3}),
        ({"responseTimeout": "60"}, {"response_timeout": 60}),
        ({"responseTimeout": 0.5}, {"response_timeout": 0.5}),
        ({"batchSize": None, "marName": "a.mar", "deviceType": 7}, {}),
    ],
)
@pytest.mark.parametrize("source", [SettingSource.MODELS, SettingSource.SNAPSHOT])
def test_json_is_read_as_torchserve_reads_it(
    found: dict[str, object], values: dict[str, object], source: SettingSource
) -> None:
    complaints: list[str] = []
    assert from_json(found, "m/1.0", source, complaints).values() == values
    assert not complaints


@pytest.mark.parametrize(
    "found",
    [
        {"batchSize": 0},
        {"batchSize": -1},
        {"batchSize": []},
        {"batchSize": [1, 2]},
        {"minWorkers": 0},
        {"minWorkers": 20_000},
        {"maxBatchDelay": 0},
        {"responseTimeout": 0},
        {"runtimeType": "ruby"},
    ],
)
def test_what_torchserve_passes_over_in_the_models_json_is_a_warning(
    tmp_path: Path, found: dict[str, object]
) -> None:
    told, warnings = models_of(tmp_path, found)
    assert not told.told
    (warning,) = warnings
    (name,) = found
    assert f"(/{tmp_path / 'config.properties'}:1): m/1.0/{name}: ".replace("(//", "(/") in warning
    assert warning.endswith("; the defaults are used; strict_config=true refuses it")


@pytest.mark.parametrize("value", ["x", "2.5", "", True, {"a": 1}, 1e99, "١"])
def test_what_torchserve_cannot_read_either_ends_the_start_in_one_line(tmp_path: Path, value: object) -> None:
    with pytest.raises(SettingsError) as raised:
        models_of(tmp_path, {"batchSize": value} if value != 1e99 else {"responseTimeout": "inf"})
    assert f"{tmp_path / 'config.properties'}:1): m/1.0/" in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("text", ["[]", '{"m": 1}', '{"m": {"1.0": 1}}', '{"m": []}', "{", "[" * 100_000])
def test_json_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="models="):
        settings_of(tmp_path, f"models={text}\n")


def test_who_says_it_first_wins_and_is_remembered(tmp_path: Path) -> None:
    settings, _ = settings_of(
        tmp_path,
        'default_response_timeout=11\njob_queue_size=12\nmodels={"m": {"1.0": {"batchSize": "3", '
        '"maxBatchDelay": 30, "maxWorkers": 3}}}\n',
    )
    told, _ = parse_model_config("batchSize: 2\nmaxBatchDelay: 20\njobQueueSize: 0\nmine: 1\n", "m.yaml")
    request = from_request({"batch_size": 1, "handler": "h.py", "startup_timeout": None, "runtime": ""})
    found = resolve((request, told, settings.models["m"]["1.0"]), settings)
    assert (found.batch_size, found.max_batch_delay, found.max_workers) == (1, 20, 3)
    assert (found.response_timeout, found.startup_timeout, found.job_queue_size) == (11, 120, 12)
    assert found.raw == told.raw
    assert {name: str(found.origins[name]) for name in ("batch_size", "max_batch_delay", "max_workers")} == {
        "batch_size": "request/batch_size",
        "max_batch_delay": "model-config.yaml/m.yaml",
        "max_workers": "models/m/1.0/maxWorkers",
    }
    assert str(found.origins["response_timeout"]) == "setting/default_response_timeout"
    assert str(found.origins["preload"]) == "default"
    assert [(str(one), one.value) for one in said_of_models(settings)] == [
        ("models/m/1.0/maxWorkers", 3),
        ("models/m/1.0/batchSize", 3),
        ("models/m/1.0/maxBatchDelay", 30),
    ]


def test_nothing_said_is_the_defaults() -> None:
    assert resolve(()) == ModelSettings(origins=resolve(()).origins)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(sorted(OTHER)), JSON),
    st.sampled_from([SettingSource.MODELS, SettingSource.SNAPSHOT]),
)
def test_whatever_json_says_fits_is_complained_of_or_is_refused(
    found: dict[str, object], source: SettingSource
) -> None:
    rules = {row.attribute: row.rule for row in TABLE}
    with contextlib.suppress(ValueError):
        for attribute, told in from_json(found, "m/1.0", source, []).told.items():
            assert rules[attribute].fits(told.value)


@given(st.dictionaries(st.sampled_from(sorted(OTHER)), JSON))
def test_whatever_yaml_says_fits_or_is_complained_of(found: dict[str, object]) -> None:
    told, warnings = parse_model_config(json.dumps(found), "m.yaml")
    known = [row for row in TABLE if In.YAML in row.places and row.name in found]
    assert len(told.told) + len(warnings) + len(told.refused) >= len(known) - 2
    resolve((told,))


def test_a_batch_size_may_be_left_to_warm_up(tmp_path: Path) -> None:
    settings, _ = settings_of(tmp_path, 'models={"m": {"1.0": {"batchSize": "auto"}}}\n')
    told, complaints = parse_model_config("batchSize: auto\n", "m.yaml")
    assert not complaints
    for layer in (settings.models["m"]["1.0"], told, from_request({"batch_size": "auto"})):
        found = resolve((layer,))
        assert (found.batch_size, found.most_in_batch, found.auto_batches) == ("auto", 64, True)
    plain = resolve((from_request({"batch_size": 3}), told))
    assert (plain.batch_size, plain.most_in_batch, plain.auto_batches) == (3, 3, False)
