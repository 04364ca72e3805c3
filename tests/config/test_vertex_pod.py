"""Under Vertex AI: what its variables change, and what they leave as it is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.config.vertex_pod import VARIABLES
from torchkeeper.errors import SettingsError
from torchkeeper.server import doors_of
from torchkeeper.serving.apis import Api

ON = {"AIP_MODE": "PREDICTION"}
PAGE = Path(__file__).parents[2] / "docs" / "platforms" / "vertex-ai.md"


def load(folder: Path, environ: dict[str, str], text: str = "", **flags: object) -> Settings:
    (folder / "config.properties").write_text(text)
    arguments = CommandLine(**flags)  # type: ignore[arg-type]  # by name
    return load_settings(arguments, ON | environ, folder)[0]


def doors(settings: Settings) -> list[tuple[str, tuple[str, ...]]]:
    return [(str(door.listener.address), door.names) for door in doors_of(settings)][:1] + [
        (str(door.listener.address), door.names)
        for door in doors_of(settings)
        if door.names == ("Vertex AI",)
    ]


@pytest.mark.parametrize("mode", ["", "TRAINING", "prediction"])
def test_in_no_other_mode_it_changes_anything(tmp_path: Path, mode: str) -> None:
    environ = {"AIP_MODE": mode, "AIP_HTTP_PORT": "no port", "AIP_STORAGE_URI": "gs://bucket"}
    settings = load(tmp_path, environ)
    assert (settings.vertex, settings.store_url, settings.load_models) == (None, None, ())


def test_inference_moves_to_the_port_that_is_called(tmp_path: Path) -> None:
    settings = load(tmp_path, {"AIP_HTTP_PORT": "8888"})
    assert doors(settings) == [("http://0.0.0.0:8888", ("Inference",))]
    assert str(settings.origins["inference_address"]) == "default under Vertex AI"
    assert doors(load(tmp_path, {})) == [("http://0.0.0.0:8080", ("Inference",))]


@pytest.mark.parametrize(
    ("port", "name"),
    [
        ("8081", "management_address"),
        ("8082", "metrics_address"),
        ("7070", "grpc_inference_port"),
        ("7071", "grpc_management_port"),
    ],
)
@pytest.mark.parametrize("text", ["", "inference_address=http://0.0.0.0:7080\n"])
def test_the_port_that_is_called_is_left_to_it(tmp_path: Path, port: str, name: str, text: str) -> None:
    settings = load(tmp_path, {"AIP_HTTP_PORT": port}, text)
    assert str(getattr(settings, name)).endswith("8085")
    assert str(settings.origins[name]) == "default under Vertex AI"
    caller = ("Vertex AI",) if text else ("Inference",)
    assert [found for found in doors(settings) if found[1] == caller] == [(f"http://0.0.0.0:{port}", caller)]


def test_a_configured_address_stays_and_the_port_opens_beside_it(tmp_path: Path) -> None:
    text = "inference_address=http://0.0.0.0:7080\n"
    assert doors(load(tmp_path, {}, text)) == [
        ("http://0.0.0.0:7080", ("Inference",)),
        ("http://0.0.0.0:8080", ("Vertex AI",)),
    ]
    assert doors(load(tmp_path, {"AIP_HTTP_PORT": "7080"}, text)) == [("http://0.0.0.0:7080", ("Inference",))]


@pytest.mark.parametrize(
    ("address", "shares"),
    [
        ("http://0.0.0.0:8081", ("Management", "Vertex AI")),
        ("http://127.0.0.1:8081", ("Management",)),
        ("https://0.0.0.0:8081", ("Management",)),
    ],
)
def test_another_configured_address_that_has_the_port_serves_it_too(
    tmp_path: Path, address: str, shares: tuple[str, ...]
) -> None:
    """As in the image, whose configuration opens all of them: nobody but Vertex AI comes there."""
    text = f"inference_address=http://0.0.0.0:8080\nmanagement_address={address}\n"
    (tmp_path / "config.properties").write_text(text)
    settings, warnings = load_settings(CommandLine(), ON | {"AIP_HTTP_PORT": "8081"}, tmp_path)
    (door,) = [door for door in doors_of(settings) if door.listener.address.port == 8081]
    assert door.names == shares
    assert (Api.INFERENCE in door.apis) is (len(shares) == 2)
    assert any("management_address has port 8081" in one for one in warnings) is (len(shares) == 1)


def test_paths_and_the_envelope(tmp_path: Path) -> None:
    vertex = load(tmp_path, {"AIP_HEALTH_ROUTE": "/health/", "AIP_PREDICT_ROUTE": "/a:predict"}).vertex
    assert vertex is not None
    assert (vertex.health, vertex.predict, vertex.envelope) == ("/health", "/a:predict", "json")
    vertex = load(tmp_path, {"AIP_PREDICT_ROUTE": "/"}).vertex
    assert vertex is not None
    assert vertex.predict == "/"
    vertex = load(tmp_path, {}, "service_envelope=body\n").vertex
    assert vertex is not None
    assert (vertex.health, vertex.predict, vertex.envelope) == (None, None, "body")


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("AIP_HTTP_PORT", "http", "must be a whole number"),
        ("AIP_HEALTH_ROUTE", "health", "must be a path that begins with /"),
        ("AIP_PREDICT_ROUTE", "predict", "must be a path that begins with /"),
    ],
)
def test_a_value_that_is_none_is_named(tmp_path: Path, variable: str, value: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}={value}: {why}"):
        load(tmp_path, {variable: value})


def test_the_artifact_folder_is_the_store(tmp_path: Path) -> None:
    settings = load(tmp_path, {"AIP_STORAGE_URI": "gs://bucket/models/1"}, "model_store=/elsewhere\n")
    assert (settings.store_url, settings.model_store) == ("gs://bucket/models/1", None)
    assert settings.load_models == ("model=model.mar",)
    assert settings.texts["model_store"] == "gs://bucket/models/1"
    local = load(tmp_path, {"AIP_STORAGE_URI": "/model"})
    assert (local.store_url, local.model_store) == (None, Path("/model"))
    assert load(tmp_path, {"AIP_STORAGE_URI": ""}).load_models == ()


def test_whoever_names_models_has_them_elsewhere(tmp_path: Path) -> None:
    environ = {"AIP_STORAGE_URI": "gs://bucket/models/1"}
    text = "model_store=/elsewhere\n"
    assert load(tmp_path, environ, f"{text}load_models=all\n").model_store == Path("/elsewhere")
    assert load(tmp_path, environ, text, models=("a.mar",)).store_url is None


def test_a_store_in_a_bucket_needs_no_vertex_ai(tmp_path: Path) -> None:
    settings, _ = load_settings(CommandLine(model_store="s3://bucket/a"), {}, tmp_path)
    assert settings.store_url == "s3://bucket/a"
    for url in ("gs://", "gs:///folder"):
        with pytest.raises(SettingsError, match=f"model_store={url}: names no bucket"):
            load_settings(CommandLine(model_store=url), {}, tmp_path)


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("", True),
        ("disable_token_authorization=false\n", False),
        ("disable_token_authorization=true\n", False),
        ("token_protect_ping=true\n", False),
        ("strict_http_auth=true\n", False),
    ],
)
def test_predictions_need_no_key_where_nothing_was_said_of_tokens(
    tmp_path: Path, text: str, opened: bool
) -> None:
    assert load(tmp_path, {}, text).open_inference is opened


def test_whoever_is_served_without_a_token_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("")
    _, warnings = load_settings(CommandLine(), ON, tmp_path)
    assert any("PREDICTIONS NEED NO TOKEN UNDER VERTEX AI" in warning for warning in warnings), warnings


def test_health_and_predictions_need_a_path_each(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE are both /a"):
        load(tmp_path, {"AIP_HEALTH_ROUTE": "/a/", "AIP_PREDICT_ROUTE": "/a"})


def test_the_page_says_what_the_table_says() -> None:
    rows = [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} |".replace(
            "|  |", "| |"
        )
        for row in VARIABLES
    ]
    _, _, table = PAGE.read_text().partition("| variable | default | meaning |\n|---|---|---|\n")
    assert table.partition("\n\n")[0].splitlines() == rows
