"""Under KServe: which ports are opened, what moves for them, and what is said of whoever is in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.errors import SettingsError
from torchkeeper.server import doors_of

POD = {"PROTOCOL_VERSION": "v2"}
#: TorchServe's sample for KServe: everything but gRPC on one port.
SAMPLE = "inference_address=http://0.0.0.0:8085\nmanagement_address=http://0.0.0.0:8085\n"


def load(folder: Path, text: str = "", **flags: object) -> tuple[Settings, list[str]]:
    (folder / "config.properties").write_text(text)
    settings, warnings = load_settings(CommandLine(**flags), POD, folder)  # type: ignore[arg-type]  # by name
    told_elsewhere = ("has no effect", "PREDICTIONS NEED NO TOKEN")
    return settings, [warning for warning in warnings if not any(text in warning for text in told_elsewhere)]


def doors(settings: Settings) -> list[tuple[str, tuple[str, ...]]]:
    return [(str(door.listener.address), door.names) for door in doors_of(settings)]


@pytest.mark.parametrize(
    ("arguments", "environ", "on"),
    [
        (CommandLine(), {}, False),
        (CommandLine(), {"PROTOCOL_VERSION": ""}, False),
        (CommandLine(), {"PROTOCOL_VERSION": "grpc-v2"}, True),
        (CommandLine(), {"INFERENCE_SERVICE_NAME": "mnist"}, True),
        (CommandLine(kserve=True), {}, True),
    ],
)
def test_it_is_on_in_kserves_pods_and_when_asked_for(
    tmp_path: Path, arguments: CommandLine, environ: dict[str, str], on: bool
) -> None:
    settings, _ = load_settings(arguments, environ, tmp_path)
    assert (settings.kserve is not None) is on


def test_a_protocol_that_is_none_of_kserves_is_said(tmp_path: Path) -> None:
    _, warnings = load_settings(CommandLine(), {"PROTOCOL_VERSION": "v9"}, tmp_path)
    assert "PROTOCOL_VERSION=v9 is none of v1, v2, grpc-v2; all of these are served" in warnings


def test_what_nobody_configured_makes_room(tmp_path: Path) -> None:
    settings, warnings = load(tmp_path)
    assert doors(settings) == [
        ("http://0.0.0.0:8080", ("Inference",)),
        ("http://127.0.0.1:8085", ("Management",)),
        ("http://127.0.0.1:8082", ("Metrics",)),
    ]
    assert settings.kserve is not None
    assert str(settings.kserve.grpc) == "http://0.0.0.0:8081"
    assert str(settings.origins["management_address"]) == "default under KServe"
    assert not warnings
    assert "management_address" not in settings.texts


def test_it_makes_room_for_other_ports_of_kserves_too(tmp_path: Path) -> None:
    settings, warnings = load(tmp_path, "kserve_http_port=8082\nkserve_grpc_port=7070\n")
    assert doors(settings) == [
        ("http://0.0.0.0:8082", ("Inference",)),
        ("http://127.0.0.1:8081", ("Management",)),
        ("http://127.0.0.1:8085", ("Metrics",)),
    ]
    assert settings.kserve is not None
    assert str(settings.kserve.grpc) == "http://0.0.0.0:7070"
    assert settings.grpc_inference_port == 8086
    assert not warnings


def test_kserves_port_opens_beside_those_of_the_file(tmp_path: Path) -> None:
    settings, _ = load(tmp_path, SAMPLE)
    assert doors(settings) == [
        ("http://0.0.0.0:8085", ("Inference", "Management")),
        ("http://127.0.0.1:8082", ("Metrics",)),
        ("http://0.0.0.0:8080", ("KServe",)),
    ]


def test_management_stays_off_a_port_that_others_have(tmp_path: Path) -> None:
    text = "inference_address=http://0.0.0.0:8085\nmetrics_address=http://0.0.0.0:8086\n"
    settings, _ = load(tmp_path, text)
    assert str(settings.management_address) == "http://127.0.0.1:8087"


@pytest.mark.parametrize(
    ("text", "http", "grpc", "said"),
    [
        ("inference_address=http://0.0.0.0:8080", False, True, None),
        ("inference_address=http://127.0.0.1:8080", False, True, "inference_address keeps port 8080"),
        ("inference_address=unix:/tmp/s", True, True, None),
        (
            "inference_address=http://0.0.0.0:8085\nmetrics_address=http://0.0.0.0:8080",
            False,
            True,
            "metrics_address has port 8080, which KServe calls for something else",
        ),
        ("management_address=http://127.0.0.1:8081", False, False, "management_address has port 8081"),
        ("grpc_inference_address=0.0.0.0\ngrpc_inference_port=8081", False, False, None),
        ("grpc_inference_port=8081", False, False, "grpc_inference_port keeps port 8081"),
        (
            "inference_address=http://0.0.0.0:1\nkserve_http_port=2\nkserve_grpc_port=0",
            True,
            True,
            None,
        ),
    ],
)
def test_a_configured_address_wins_and_is_named(
    tmp_path: Path, text: str, http: bool, grpc: bool, said: str | None
) -> None:
    settings, warnings = load(tmp_path, text)
    assert settings.kserve is not None
    assert (settings.kserve.http is not None, settings.kserve.grpc is not None) == (http, grpc)
    assert [said in warning for warning in warnings] == ([True] if said else [])


def test_a_metrics_address_without_metrics_is_in_nobodys_way(tmp_path: Path) -> None:
    text = "metrics_address=http://0.0.0.0:8081\nenable_metrics_api=false\n"
    settings, warnings = load(tmp_path, text)
    assert settings.kserve is not None
    assert settings.kserve.grpc is not None
    assert not warnings


def test_serving_others_without_tokens_is_said_loudly(tmp_path: Path) -> None:
    _, warnings = load(tmp_path, SAMPLE, disable_token_auth=True)
    (warning,) = warnings
    assert warning.startswith("WITHOUT TOKENS EVERYBODY WHO REACHES inference_address 0.0.0.0:8085, ")
    assert "KServe's port 0.0.0.0:8080, KServe's port 0.0.0.0:8081 IS SERVED" in warning


@pytest.mark.parametrize(
    ("text", "environ", "flags", "opened"),
    [
        ("", POD, {}, True),
        ("disable_token_authorization=false\n", POD, {}, False),
        ("", POD, {"disable_token_auth": True}, False),
        ("", {**POD, "TS_INFERENCE_KEY": "a-key-of-some-length"}, {}, False),
        ("", {**POD, "TS_INFERENCE_KEY_FILE": "/mnt/key"}, {}, False),
        ("", {}, {"kserve": True}, False),
    ],
    ids=["a pod", "keys asked for", "no keys at all", "a key given", "a key's file given", "not in a pod"],
)
def test_predictions_need_no_key_in_a_pod_where_nothing_was_said_of_tokens(
    tmp_path: Path, text: str, environ: dict[str, str], flags: dict[str, Any], opened: bool
) -> None:
    (tmp_path / "config.properties").write_text(text)
    settings, warnings = load_settings(CommandLine(**flags), environ, tmp_path)
    assert settings.open_inference is opened
    said = [warning for warning in warnings if "PREDICTIONS NEED NO TOKEN UNDER KSERVE" in warning]
    assert len(said) == int(opened)


def test_a_server_that_only_this_machine_reaches_warns_of_nothing(tmp_path: Path) -> None:
    text = "inference_address=http://localhost:8080\nmanagement_address=http://127.0.0.1:8081\n"
    _, warnings = load(tmp_path, text, disable_token_auth=True)
    assert not [warning for warning in warnings if "TOKENS" in warning]


def test_config_path_names_the_file_when_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "c.properties").write_text("job_queue_size=7\n")
    (tmp_path / "d.properties").write_text("job_queue_size=8\n")
    named = {**POD, "CONFIG_PATH": "c.properties"}
    assert load_settings(CommandLine(), named, tmp_path)[0].job_queue_size == 7
    given = CommandLine(ts_config=Path("d.properties"))
    assert load_settings(given, named, tmp_path)[0].job_queue_size == 8
    outside = {"CONFIG_PATH": "c.properties"}
    assert load_settings(CommandLine(), outside, tmp_path)[0].job_queue_size == 100
    with pytest.raises(SettingsError, match=r"CONFIG_PATH file not found: gone\.properties"):
        load_settings(CommandLine(), {**POD, "CONFIG_PATH": "gone.properties"}, tmp_path)
