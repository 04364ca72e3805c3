"""Layers of texts, which of the environment's count, and how texts become values or complaints."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.config.layers import Layers, Origin, SettingReader, hint
from torchkeeper.config.setting_key import SettingKey
from torchkeeper.config.table import BY_NAME, KEYS
from torchkeeper.errors import SettingsError

FILE = Origin("file", "/c.properties", 7)


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin("default"), "default"),
        (FILE, "file /c.properties:7"),
        (Origin("command line", "--models"), "command line --models"),
        (Origin("environment", "TS_DEBUG"), "environment TS_DEBUG"),
    ],
)
def test_an_origin_says_where_to_look(origin: Origin, text: str) -> None:
    assert str(origin) == text


@pytest.mark.parametrize(
    ("unknown", "said"),
    [("job_que_size", "; did you mean job_queue_size?"), ("zzz", ""), ("", "")],
)
def test_the_nearest_key(unknown: str, said: str) -> None:
    assert hint(unknown) == said


# --- layers -------------------------------------------------------------------------------------------------


def test_each_layer_lies_over_the_one_before() -> None:
    layers = Layers()
    assert layers.texts["job_queue_size"] == ("100", Origin("default"))
    assert layers.texts.keys() == BY_NAME.keys()
    layers.give("job_queue_size", "7", FILE)
    layers.give("job_queue_size", "8", Origin("command line", "--x"))
    assert layers.texts["job_queue_size"] == ("8", Origin("command line", "--x"))
    assert Layers().texts["job_queue_size"][0] == "100"


@pytest.mark.parametrize(
    ("text", "holds"), [("true", True), ("TRUE", True), ("false", False), ("yes", False), ("", False)]
)
@pytest.mark.parametrize("name", ["enable_envvars_config", "strict_config"])
def test_whether_a_key_holds(name: str, text: str, holds: bool) -> None:
    layers = Layers()
    layers.give(name, text, FILE)
    assert layers.is_on(name) is holds


def test_without_leave_only_keys_that_are_always_read_come_from_the_environment() -> None:
    layers = Layers()
    environ = {key.variable: "true" for key in KEYS}
    taken = layers.take_environment(environ)
    assert set(taken) == {key.name for key in KEYS if key.always_env and key.from_env}
    assert layers.texts["job_queue_size"][1].kind == "default"


def test_with_leave_every_key_does_that_has_a_variable() -> None:
    layers = Layers()
    layers.give("enable_envvars_config", "true", FILE)
    environ = {key.variable: "true" for key in KEYS}
    taken = layers.take_environment(environ)
    assert set(taken) == {key.name for key in KEYS if key.from_env}
    assert layers.texts["models"][1].kind == "default"


@given(st.permutations(range(len(KEYS))), st.sampled_from(["true", "TRUE"]))
def test_no_rule_depends_on_the_order_of_the_table(order: list[int], spelling: str) -> None:
    environ = {"TS_ALLOWED_URLS": "https://e/.*", "TS_USE_ENV_ALLOWED_URLS": spelling, "TS_DEBUG": "true"}
    layers = Layers(tuple(KEYS[index] for index in order))
    layers.give("enable_envvars_config", spelling, Origin("file"))
    layers.take_environment(environ)
    assert layers.texts["allowed_urls"] == ("https://e/.*", Origin("environment", "TS_ALLOWED_URLS"))
    assert layers.texts["debug"][0] == "true"


@pytest.mark.parametrize(
    ("on", "variables", "barred"),
    [
        ((), {}, None),
        ((), {"TS_ALLOWED_URLS": "x"}, "enable_envvars_config"),
        (("use_env_allowed_urls",), {"TS_ALLOWED_URLS": "x"}, "enable_envvars_config"),
        (("enable_envvars_config",), {"TS_ALLOWED_URLS": "x"}, "use_env_allowed_urls"),
        (("enable_envvars_config", "use_env_allowed_urls"), {"TS_ALLOWED_URLS": "x"}, None),
    ],
)
def test_why_the_environments_allowed_urls_do_not_count(
    on: tuple[str, ...], variables: dict[str, str], barred: str | None
) -> None:
    layers = Layers()
    for name in on:
        layers.give(name, "true", FILE)
    layers.take_environment(variables)
    said = layers.barred_urls(variables)
    assert said == (barred and f"TS_ALLOWED_URLS has no effect: {barred} is not true")


# --- texts become values ------------------------------------------------------------------------------------


def test_a_value_that_torchserve_passes_over_is_a_warning() -> None:
    warnings = ["said before"]
    reader = SettingReader(warnings)
    assert reader.value("job_queue_size", "7", FILE) == 7
    assert reader.value("enable_model_api", "yes", FILE) is False
    reader.complain("unknown key x", "; it is ignored")
    assert warnings == ["said before"]
    reader.close(strict=False)
    assert warnings[1:] == [
        "enable_model_api=yes (/c.properties:7): must be true or false; false is used, as by TorchServe; "
        "strict_config=true refuses it",
        "unknown key x; it is ignored; strict_config=true refuses it",
    ]


def test_a_strict_configuration_refuses_the_first_complaint() -> None:
    warnings: list[str] = []
    reader = SettingReader(warnings)
    reader.close(strict=True)
    reader.value("job_queue_size", "0", FILE)
    reader.complain("unknown key x", "; it is ignored")
    with pytest.raises(SettingsError) as raised:
        reader.close(strict=True)
    assert raised.value.message == (
        "job_queue_size=0 (/c.properties:7): must be at least 1; strict_config=true refuses it"
    )
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "text", "origin", "said"),
    [
        ("job_queue_size", "ten", FILE, "job_queue_size=ten (/c.properties:7): must be a whole number"),
        ("job_queue_size", "1\n2", FILE, "job_queue_size=1 2 (/c.properties:7): must be a whole number"),
        (
            "grpc_inference_port",
            "x" * 200,
            Origin("environment", "TS_GRPC_INFERENCE_PORT"),
            f"grpc_inference_port={'x' * 100}... (TS_GRPC_INFERENCE_PORT): must be a whole number",
        ),
        ("max_request_size", "", Origin("default"), "max_request_size= (default): must be a whole number"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it_and_its_place(
    name: str, text: str, origin: Origin, said: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        SettingReader([]).value(name, text, origin)
    assert raised.value.message == said


@given(st.sampled_from(KEYS), st.text(max_size=30))
def test_every_error_names_the_key_and_its_place(key: SettingKey, text: str) -> None:
    said = ""
    try:
        SettingReader([]).value(key.name, text, FILE)
    except SettingsError as error:
        said = error.message
    assert not said or (said.startswith(f"{key.name}=") and " (/c.properties:7): " in said)


def test_no_error_shows_a_secret() -> None:
    row = dataclasses.replace(BY_NAME["keystore_pass"], form=BY_NAME["job_queue_size"].form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BY_NAME, "keystore_pass", row)
        with pytest.raises(SettingsError) as raised:
            SettingReader([]).value("keystore_pass", "secret", FILE)
    assert raised.value.message == "keystore_pass=*** (/c.properties:7): must be a whole number"


def test_strict_changes_the_defaults_of_what_nobody_has_set() -> None:
    layers = Layers()
    assert layers.be_strict() == ()
    layers.give("strict", "true", FILE)
    layers.give("strict_http_auth", "false", FILE)
    assert layers.be_strict() == ("strict_config", "strict_statuses", "sandbox", "allowed_urls")
    assert layers.texts["strict_config"] == ("true", Origin("default", "under strict"))
    assert layers.texts["allowed_urls"][0] == ""
    assert layers.texts["strict_http_auth"] == ("false", FILE)
