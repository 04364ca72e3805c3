"""Who decides what a model's workers may do: the operator, and an archive that asks for less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.model_settings import GivenSettings, ModelSettings, resolve
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.models.sandboxing import own_files, sandbox_of
from torchkeeper.sandbox.policy import holds


def loaded(folder: Path, *lines: str, **models: Any) -> Settings:
    given = [*lines, *([f"models={json.dumps({'m': {'1.0': models}})}"] if models else [])]
    (folder / "config.properties").write_text("".join(f"{line}\n" for line in given))
    (folder / "store").mkdir(exist_ok=True)
    return load_settings(CommandLine(model_store=folder / "store"), {}, folder)[0]


def resolved(settings: Settings, archive: str) -> ModelSettings:
    given, warnings = parse_model_config(archive, "m.yaml")
    assert not warnings
    configured = settings.models.get("m", {}).get("1.0", GivenSettings())
    return resolve((GivenSettings(), given, configured), settings)


@pytest.mark.parametrize(
    ("lines", "models", "archive", "level"),
    [
        ((), {}, "", "default"),
        ((), {}, "sandbox: off", "off"),
        ((), {}, "sandbox: 'off'", "off"),
        ((), {}, "sandbox: strict", "strict"),
        (("sandbox=default",), {}, "sandbox: off", "default"),
        (("sandbox=default",), {}, "sandbox: strict", "strict"),
        (("sandbox=strict",), {}, "sandbox: default", "strict"),
        (("sandbox=off",), {}, "sandbox: default", "default"),
        (("strict=true",), {}, "sandbox: off", "strict"),
        (("strict=true", "sandbox=default"), {}, "", "default"),
        (("sandbox=strict",), {"sandbox": "default"}, "", "default"),
        (("sandbox=strict",), {"sandbox": "default"}, "sandbox: off", "default"),
        ((), {"sandbox": "strict"}, "sandbox: off", "strict"),
    ],
)
def test_an_archive_only_asks_for_less_than_the_operator_allows(
    tmp_path: Path, lines: tuple[str, ...], models: dict[str, Any], archive: str, level: str
) -> None:
    settings = loaded(tmp_path, *lines, **models)
    config = resolved(settings, archive)
    assert sandbox_of(settings, config, tmp_path / "m", ()).level == level


@pytest.mark.parametrize(
    ("lines", "archive", "network"),
    [
        ((), "", True),
        ((), "sandbox: strict", False),
        ((), "sandbox: strict\nsandboxNetwork: any", True),
        ((), "sandboxNetwork: none", False),
        (("sandbox=strict",), "", False),
        (("sandbox=strict",), "sandboxNetwork: any", False),
        (("sandbox=strict", "sandbox_network=any"), "", True),
        (("sandbox=strict", "sandbox_network=any"), "sandboxNetwork: none", False),
        (("sandbox_network=none",), "sandboxNetwork: any", False),
        (("sandbox_network=any",), "sandbox: strict", True),
    ],
)
def test_strict_workers_have_no_network_unless_who_may_says_so(
    tmp_path: Path, lines: tuple[str, ...], archive: str, network: bool
) -> None:
    settings = loaded(tmp_path, *lines)
    assert sandbox_of(settings, resolved(settings, archive), tmp_path / "m", ()).network is network


def test_of_limits_the_lesser_ones_hold(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "sandbox_limits=nofile=100,as=2G")
    config = resolved(settings, "sandboxLimits: {nofile: 200, as: 1G, fsize: 10}")
    limits = sandbox_of(settings, config, tmp_path / "m", ()).limits
    assert limits == {"nofile": 100, "as": 1 << 30, "fsize": 10}
    assert sandbox_of(settings, resolved(settings, ""), tmp_path / "m", ()).limits == {
        "nofile": 100,
        "as": 2 << 30,
    }


@pytest.mark.parametrize(
    "bad", ["sandbox: loose", "sandbox: true", "sandboxLimits: {core: 1}", "sandboxLimits: {nofile: 0}"]
)
def test_what_is_none_costs_the_key(bad: str) -> None:
    given, (warning,) = parse_model_config(bad, "m.yaml")
    assert not given.told
    assert warning.endswith(" and is ignored")


def test_the_servers_own_files_are_known(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    own = own_files(settings, tmp_path)
    assert {tmp_path / "store", tmp_path / "config.properties", tmp_path} <= set(own)
    found = sandbox_of(settings, resolved(settings, ""), tmp_path / "m", own)
    assert found.model_dir == str(tmp_path / "m")
    assert holds(str(tmp_path), found.own)
    assert not holds(str(tmp_path / "m"), found.own)
