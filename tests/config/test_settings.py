"""Settings: where each value comes from, who wins, and how a bad one is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.errors import SettingsError


def load(folder: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Settings:
    (folder / "config.properties").write_text(text)
    settings, _ = load_settings(CommandLine(**flags), environ or {}, folder)  # type: ignore[arg-type]  # flags by name
    return settings


def test_defaults_are_torchserves(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert str(settings.inference_address) == "http://127.0.0.1:8080"
    assert settings.job_queue_size == 100
    assert settings.max_request_size == 6553500
    assert settings.default_response_timeout == 120
    assert settings.number_of_gpu is None
    assert str(settings.origins["job_queue_size"]) == "default"


def test_environment_beats_command_line_beats_file(tmp_path: Path) -> None:
    text = "load_models=file.mar\njob_queue_size=7\nenable_envvars_config=true\n"
    environ = {"TS_JOB_QUEUE_SIZE": "9"}
    settings = load(tmp_path, text, environ, models=("flag.mar",))
    assert settings.load_models == ("flag.mar",)
    assert settings.job_queue_size == 9
    assert str(settings.origins["load_models"]) == "command line --models"
    assert str(settings.origins["job_queue_size"]) == "environment TS_JOB_QUEUE_SIZE"
    without = load(tmp_path, "job_queue_size=7\n", environ)
    assert without.job_queue_size == 7
    assert without.origins["job_queue_size"].line == 1


def test_syntax(tmp_path: Path) -> None:
    text = (
        "# comment\n! also\ninference_address = http\\://0.0.0.0\\:81\nload_models=a.mar,\\\n   b.mar\n"
        "service_envelope=$$E$$\n"
    )
    settings = load(tmp_path, text, {"E": "json"})
    assert (settings.inference_address.host, settings.inference_address.port) == ("0.0.0.0", 81)
    assert settings.load_models == ("a.mar", "b.mar")
    assert settings.service_envelope == "json"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("inference_address=http://127.0.0.1:99999", "port 99999 is not from 0 to 65535"),
        ("inference_address=foo", "must be http://host:port"),
        ("job_queue_size=banana", "must be a whole number"),
        ("metric_time_interval=0", "must be at least 1"),
        ("job_queue_size=1_000", "must be a whole number"),
        ("job_queue_size=4294967296", "must be at most 2147483647"),
        ("blacklist_env_vars=(", "is not a regular expression"),
        ("models={", "is not JSON"),
        ("metrics_config=~nobody-of-that-name/m.yaml", "names the home of a user that cannot be found"),
        ("service_envelope=$$UNSET$$", "Invalid Environment Variable UNSET"),
    ],
)
def test_a_bad_value_names_key_value_file_and_line(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, f"# first\n{line}\n")
    message = raised.value.message
    assert message.startswith(f"{line} ({tmp_path / 'config.properties'}:2): ")
    assert why in message
    assert "\n" not in message


def test_the_metrics_mode_in_any_case(tmp_path: Path) -> None:
    assert load(tmp_path, "metrics_mode= Prometheus\n").metrics_mode == "prometheus"


def test_an_unknown_key_is_told_its_nearest(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("job_que_size=5\nipex_gpu_enable=true\n")
    _, warnings = load_settings(CommandLine(), {}, tmp_path)
    place = f"{tmp_path / 'config.properties'}:1"
    assert warnings[0] == (
        f"unknown key job_que_size ({place}); did you mean job_queue_size?; it is ignored; "
        "strict_config=true refuses it"
    )
    assert "torchkeeper does not have the Intel extension for GPUs yet" in warnings[1]


# --- what TorchServe reads leniently ------------------------------------------------------------------------


def loaded(
    folder: Path, text: str, environ: dict[str, str] | None = None
) -> tuple[Settings, tuple[str, ...]]:
    (folder / "config.properties").write_text(text)
    return load_settings(CommandLine(), environ or {}, folder)


@pytest.mark.parametrize("said", ["yes", "1", "on", "TRUE1", "true ", ""])
@pytest.mark.parametrize("name", ["disable_token_authorization", "enable_metrics_api", "async_logging"])
def test_a_boolean_that_is_neither_is_false_as_in_torchserve(tmp_path: Path, name: str, said: str) -> None:
    settings, warnings = loaded(tmp_path, f"# first\n{name}={said}\n")
    assert getattr(settings, name) is False
    (told,) = [text for text in warnings if "must be true or false" in text]
    assert told.startswith(f"{name}={said} ({tmp_path / 'config.properties'}:2): ")
    assert told.endswith("false is used, as by TorchServe; strict_config=true refuses it")


@pytest.mark.parametrize("said", ["true", "TRUE", "True", "false", "FALSE", "fAlse"])
def test_true_and_false_in_any_case_are_no_warning(tmp_path: Path, said: str) -> None:
    settings, warnings = loaded(tmp_path, f"enable_model_api={said}\n")
    assert settings.enable_model_api is (said.lower() == "true")
    assert not warnings


@pytest.mark.parametrize(
    ("line", "value", "shown"),
    [
        ("metrics_mode=file", "log", "log"),
        ("token_expiration_min=soon", 60.0, "60"),
        ("token_expiration_min=-1", 0, None),
        ("token_expiration_min=1e99", 52_560_000.0, "52560000"),
        ("default_workers_per_model=-1", 0, "0"),
        ("number_of_gpu=-1", 0, "0"),
        ("default_response_timeout=0", 120, "120"),
        ("default_startup_timeout=-3", 120, "120"),
        ("unregister_model_timeout=0", 120, "120"),
        ("job_queue_size=0", 100, "100"),
        ("max_request_size=-1", 6553500, "6553500"),
        ("max_response_size=0", 6553500, "6553500"),
    ],
)
def test_what_starts_torchserve_starts_here(
    tmp_path: Path, line: str, value: object, shown: str | None
) -> None:
    settings, warnings = loaded(tmp_path, f"{line}\n")
    assert getattr(settings, line.partition("=")[0]) == value
    (warning,) = warnings
    assert warning.startswith(f"{line} ({tmp_path / 'config.properties'}:1): ")
    assert f"; {shown} is used" in warning or shown is None
    assert warning.endswith("; strict_config=true refuses it")


def test_the_first_workers_number_need_not_be_a_port(tmp_path: Path) -> None:
    settings, warnings = loaded(tmp_path, "initial_worker_port=70000\n")
    assert settings.initial_worker_port == 70000
    assert not warnings


def test_a_pattern_that_cannot_be_read_allows_nothing(tmp_path: Path) -> None:
    settings, warnings = loaded(tmp_path, "allowed_urls=https://h/(.*,https://i/.*\n")
    assert [pattern.pattern for pattern in settings.allowed_urls] == ["https://i/.*"]
    assert "https://h/(.*" in warnings[0]
    alone, _ = loaded(tmp_path, "allowed_urls=(\n")
    assert alone.allowed_urls == ()


@pytest.mark.parametrize(
    "line",
    [
        "enable_model_api=yes",
        "metrics_mode=file",
        "job_queue_size=0",
        "token_expiration_min=0",
        "allowed_urls=(",
        "job_que_size=7",
        'models={"m": {"1.0": {"batchSize": 0}}}',
        'model_snapshot={"models": {"m": {"1.0": {"marName": "a", "responseTimeout": 0}}}}',
    ],
)
@pytest.mark.parametrize("by", ["file", "environment"])
def test_a_strict_configuration_refuses_it(tmp_path: Path, line: str, by: str) -> None:
    assert loaded(tmp_path, f"{line}\n")[1]
    text = f"{line}\nstrict_config=true\n" if by == "file" else f"{line}\n"
    environ = {} if by == "file" else {"TS_STRICT_CONFIG": "True"}
    with pytest.raises(SettingsError) as raised:
        loaded(tmp_path, text, environ)
    message = raised.value.message
    assert line.partition("=")[0] in message
    assert f"{tmp_path / 'config.properties'}:1" in message
    assert "\n" not in message


def test_a_strict_configuration_takes_what_is_right(tmp_path: Path) -> None:
    settings, warnings = loaded(tmp_path, "strict_config=true\nenable_model_api=TRUE\nversion=0.12.0\n")
    assert settings.strict_config
    assert not warnings


@pytest.mark.parametrize("name", ["strict_config", "strict_http_auth", "token_protect_ping", "log_format"])
def test_a_key_that_torchserve_does_not_have_is_never_guessed(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}=yes "):
        loaded(tmp_path, f"{name}=yes\n")


# --- where models may come from -----------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["true", "TRUE", "True", "tRuE"])
@pytest.mark.parametrize("by", ["file", "environment", "environment over file"])
def test_the_environments_allowed_urls_count_however_that_is_said(
    tmp_path: Path, spelling: str, by: str
) -> None:
    text = "enable_envvars_config=TRUE\nallowed_urls=https://file/.*\n"
    environ = {"TS_ALLOWED_URLS": "https://environment/.*"}
    if by == "file":
        text = f"use_env_allowed_urls={spelling}\n{text}"
    else:
        environ = {**environ, "TS_USE_ENV_ALLOWED_URLS": spelling}
        text = f"use_env_allowed_urls=false\n{text}" if by == "environment over file" else text
    settings, warnings = loaded(tmp_path, text, environ)
    assert [pattern.pattern for pattern in settings.allowed_urls] == ["https://environment/.*"]
    assert str(settings.origins["allowed_urls"]) == "environment TS_ALLOWED_URLS"
    assert not warnings


@pytest.mark.parametrize(
    ("text", "environ", "why"),
    [
        ("enable_envvars_config=true\n", {}, "use_env_allowed_urls is not true"),
        ("enable_envvars_config=true\nuse_env_allowed_urls=yes\n", {}, "use_env_allowed_urls is not true"),
        (
            "enable_envvars_config=true\nuse_env_allowed_urls=true\n",
            {"TS_USE_ENV_ALLOWED_URLS": "false"},
            "use_env_allowed_urls is not true",
        ),
        ("use_env_allowed_urls=true\n", {}, "enable_envvars_config is not true"),
        ("", {"TS_USE_ENV_ALLOWED_URLS": "true"}, "enable_envvars_config is not true"),
    ],
)
def test_allowed_urls_that_do_not_count_are_said(
    tmp_path: Path, text: str, environ: dict[str, str], why: str
) -> None:
    given = "allowed_urls=https://file/.*\n"
    settings, warnings = loaded(tmp_path, text + given, {"TS_ALLOWED_URLS": "https://e/.*", **environ})
    assert [pattern.pattern for pattern in settings.allowed_urls] == ["https://file/.*"]
    assert f"TS_ALLOWED_URLS has no effect: {why}" in warnings


# --- folders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "logs", "metrics"),
    [
        ({}, "logs", "logs"),
        ({"LOG_LOCATION": "/l"}, "/l", "logs"),
        ({"METRICS_LOCATION": "m"}, "logs", "m"),
        ({"LOG_LOCATION": "l", "METRICS_LOCATION": "/m"}, "l", "/m"),
    ],
)
def test_metrics_lie_in_logs_wherever_other_logs_lie(
    tmp_path: Path, environ: dict[str, str], logs: str, metrics: str
) -> None:
    settings, _ = loaded(tmp_path, "", environ)
    assert settings.log_location == tmp_path / logs
    assert settings.metrics_location == tmp_path / metrics


# --- the table and the fields -------------------------------------------------------------------------------


# --- what else starts TorchServe ----------------------------------------------------------------------------


def test_a_file_in_javas_own_encoding_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_bytes("# café\ncors_allowed_origin=ä\n".encode("latin-1"))
    settings, warnings = load_settings(CommandLine(), {}, tmp_path)
    assert settings.cors_allowed_origin == "ä"
    assert not warnings


@pytest.mark.parametrize("variable", ["ORIGIN", "MY-ORIGIN", "my.origin", "ORIGIN 1"])
def test_a_placeholder_names_any_variable(tmp_path: Path, variable: str) -> None:
    settings = load(tmp_path, f"cors_allowed_origin=<$${variable}$$>\n", {variable: "x"})
    assert settings.cors_allowed_origin == "<x>"


def test_an_empty_temp_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, environ={"TEMP": ""}).temp_dir == load(tmp_path).temp_dir
