"""The table of all keys: its rows, their fields, and what becomes of any text."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from torchkeeper.config.setting_key import Effect, Read, SettingKey
from torchkeeper.config.table import BY_NAME, KEYS, Configured


def test_every_key_is_a_field_of_the_settings_and_its_default_is_read_from_the_table() -> None:
    plain = Configured()
    assert [field.name for field in dataclasses.fields(Configured)] == [key.name for key in KEYS]
    for key in KEYS:
        assert getattr(plain, key.name) == (key.read(key.default).value)
        assert not key.read(key.default).complaint


def test_no_two_keys_have_one_name_or_one_variable() -> None:
    assert len(BY_NAME) == len({key.variable for key in KEYS}) == len(KEYS)


def test_who_has_no_effect_says_why_and_who_has_one_says_which() -> None:
    for key in KEYS:
        assert bool(key.why) is (key.effect is not Effect.WORKS), key.name
        assert key.meaning or key.effect is not Effect.WORKS, key.name


def test_secrets_stand_in_no_file_but_the_keystores_password() -> None:
    secret = {key.name for key in KEYS if key.secret}
    assert secret == {"management_key", "inference_key", "api_key", "keystore_pass"}
    assert all(not BY_NAME[name].from_file for name in secret - {"keystore_pass"})


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("job_queue_size", "TS_JOB_QUEUE_SIZE"),
        ("token_expiration_min", "TS_TOKEN_EXPIRATION_TIME_MIN"),
        ("ts_open_inference_protocol", "TS_OPEN_INFERENCE_PROTOCOL"),
    ],
)
def test_variables(name: str, variable: str) -> None:
    assert BY_NAME[name].variable == variable


def test_which_keys_hold_json() -> None:
    assert [key.name for key in KEYS if key.json] == ["models", "model_snapshot"]


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("job_queue_size", "7", Read(7)),
        ("job_queue_size", "0", Read(100, "must be at least 1", "100 is used")),
        ("debug", "yes", Read(False, "must be true or false", "false is used, as by TorchServe")),
    ],
)
def test_texts_are_read(name: str, text: str, read: Read[object]) -> None:
    assert BY_NAME[name].read(text) == read


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job_queue_size", "ten"),
        ("strict_config", "yes"),
        ("metrics_openmetrics", "yes"),
        ("kserve_http_port", "-1"),
        ("metrics_config", "~nobody-of-that-name/m.yaml"),
    ],
)
def test_texts_are_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|names the home"):
        BY_NAME[name].read(text)


def models(**fields: object) -> str:
    return json.dumps({"m": {"1.0": fields}})


def test_what_is_passed_over_in_json_costs_that_value_alone() -> None:
    read = BY_NAME["models"].read(models(batchSize=0, maxBatchDelay=7))
    assert read.value["m"]["1.0"].values() == {"max_batch_delay": 7}
    assert read.complaint == "m/1.0/batchSize: 0 counts as nothing here"
    assert read.instead == "the defaults are used"


@pytest.mark.parametrize("text", ["", "  "])
def test_no_json_is_no_models(text: str) -> None:
    assert BY_NAME["models"].read(text) == Read({})
    assert BY_NAME["model_snapshot"].read(text) == Read(None)


@pytest.mark.parametrize(
    "text", [models(batchSize="x"), models(responseTimeout=10**400), "[]", "{", '{"m": 1}']
)
def test_json_that_torchserve_cannot_read_either_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is not JSON"):
        BY_NAME["models"].read(text)


@given(st.sampled_from(KEYS), st.text(max_size=30))
@example(BY_NAME["model_store"], "~nobody-of-that-name")
@example(BY_NAME["models"], models(batchSize=10**400))
def test_whatever_a_key_is_given_is_read_or_refused(key: SettingKey, text: str) -> None:
    with contextlib.suppress(ValueError):
        read = key.read(text)
        assert not read.complaint or not key.own
