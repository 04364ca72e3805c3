"""A server without tokens for more than this machine: refused unless it is meant, or a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.cli import checked_settings, torchserve_parser
from torchkeeper.errors import SettingsError

OPEN = "inference_address=http://0.0.0.0:8080\ndisable_token_authorization=true\n"


def warned(folder: Path, text: str, *flags: str, **environ: str) -> list[str]:
    """The warnings of a start that is not made: none, or those about tokens; `/` is the folder."""
    (folder / "store").mkdir(exist_ok=True)
    (folder / "config.properties").write_text(text)
    arguments = torchserve_parser().parse_args(
        ["--start", "--ncs", "--model-store", str(folder / "store"), *flags]
    )
    _, warnings = checked_settings(arguments, environ, folder, folder)
    return [warning for warning in warnings if "TOKEN" in warning]


@pytest.mark.parametrize(
    ("text", "flags", "door"),
    [
        (OPEN, (), "inference_address 0.0.0.0:8080"),
        ("inference_address=http://[::]:80\n", ("--dt",), "inference_address :::80"),
        ("management_address=https://10.0.0.1\n", ("--dt",), "management_address 10.0.0.1:8444"),
        ("grpc_inference_address=0.0.0.0\n", ("--dt",), "grpc_inference_port 0.0.0.0:7070"),
        ("grpc_management_address=some.host\n", ("--dt",), "grpc_management_port some.host:7071"),
    ],
)
def test_without_tokens_others_are_served_only_if_that_is_meant(
    tmp_path: Path, text: str, flags: tuple[str, ...], door: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        warned(tmp_path, text, *flags)
    assert refused.value.message == (
        f"tokens are off, and everybody who reaches {door} would be served: leave tokens on, "
        "listen on 127.0.0.1, or say --insecure (insecure=true) if that is meant"
    )
    told = [f"WITHOUT TOKENS EVERYBODY WHO REACHES {door} IS SERVED, as insecure=true says"]
    assert warned(tmp_path, text, *flags, "--insecure") == told
    assert warned(tmp_path, f"{text}insecure=true\n", *flags) == told
    assert warned(tmp_path, text, *flags, TS_INSECURE="true") == told


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", ("--dt",)),
        ("inference_address=http://0.0.0.0:8080\n", ()),
        ("metrics_address=http://0.0.0.0:8082\n", ("--dt",)),
        ("inference_address=http://localhost\nmanagement_address=unix:/tmp/m\n", ("--dt",)),
        ("grpc_inference_address=127.0.0.2\nmanagement_address=http://[::1]\n", ("--dt",)),
    ],
)
def test_with_tokens_or_on_this_machine_there_is_nothing_to_say(
    tmp_path: Path, text: str, flags: tuple[str, ...]
) -> None:
    assert warned(tmp_path, text, *flags) == []


@pytest.mark.parametrize(
    ("name", "value", "sign"),
    [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1", "KUBERNETES_SERVICE_HOST is set"),
        ("container", "podman", "container is set"),
        ("SAGEMAKER_BIND_TO_PORT", "8080", "SAGEMAKER_BIND_TO_PORT is set"),
        ("AZUREML_MODEL_DIR", "/var", "AZUREML_MODEL_DIR is set"),
        ("K_SERVICE", "mnist", "K_SERVICE is set"),
        ("APPTAINER_CONTAINER", "/m.sif", "APPTAINER_CONTAINER is set"),
        ("HOME", "/home/model-server", "/home/model-server is TorchServe's image's"),
    ],
)
def test_in_a_container_it_is_told_of_aloud(tmp_path: Path, name: str, value: str, sign: str) -> None:
    (warning,) = warned(tmp_path, OPEN, **{name: value})
    assert warning == (
        "WITHOUT TOKENS EVERYBODY WHO REACHES inference_address 0.0.0.0:8080 IS SERVED: "
        f"it starts because this is a container ({sign}), elsewhere it would need --insecure"
    )


@pytest.mark.parametrize("file", [".dockerenv", "run/.containerenv"])
def test_a_container_is_known_by_its_file(tmp_path: Path, file: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / file).touch()
    (warning,) = warned(tmp_path, OPEN)
    assert f"(/{file} is there)" in warning


def test_a_container_is_known_by_its_first_process(tmp_path: Path) -> None:
    (tmp_path / "proc" / "1").mkdir(parents=True)
    comm = tmp_path / "proc" / "1" / "comm"
    comm.write_text("torchserve\n")
    (warning,) = warned(tmp_path, OPEN)
    assert "(process 1 is torchserve)" in warning
    comm.write_text("systemd\n")
    with pytest.raises(SettingsError, match="--insecure"):
        warned(tmp_path, OPEN)


def test_under_kserve_and_vertex_ai_it_is_said_once(tmp_path: Path) -> None:
    for environ, flags in (
        ({}, ("--kserve",)),
        ({"PROTOCOL_VERSION": "v2"}, ()),
        ({"AIP_MODE": "PREDICTION"}, ()),
    ):
        (warning,) = warned(tmp_path, f"{OPEN}metrics_address=http://0.0.0.0:8082\n", *flags, **environ)
        assert warning.startswith("WITHOUT TOKENS EVERYBODY WHO REACHES inference_address 0.0.0.0:8080")
        assert "metrics" not in warning
