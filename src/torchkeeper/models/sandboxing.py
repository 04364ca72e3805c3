"""What a model's workers may do: the operator's settings and the archive's, put together. Pure."""

from __future__ import annotations

from pathlib import Path

from torchkeeper.config.model_key import SettingSource
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.config.settings import Settings
from torchkeeper.wire.messages import Sandbox


def sandbox_of(settings: Settings, config: ModelSettings, model_dir: Path, own: tuple[Path, ...]) -> Sandbox:
    """The sandbox of a model's workers; `own` are files and folders of the server."""
    return Sandbox(
        level=config.sandbox,
        network=_has_network(config),
        user=settings.user,
        limits=dict(config.sandbox_limits or {}),
        model_dir=str(model_dir),
        own=tuple(str(path) for path in own),
        temp_dir=str(settings.temp_dir),
    )


def _has_network(config: ModelSettings) -> bool:
    """Unless it is said, strict workers have none; nor has an archive a say where the operator is strict."""
    said, level = config.sandbox_network, config.sandbox
    archives = config.origins["sandbox_network"].source is SettingSource.YAML
    operators = config.origins["sandbox"].source is not SettingSource.YAML
    if said is None or (said == "any" and level == "strict" and archives and operators):
        return level != "strict"
    return said == "any"


def own_files(settings: Settings, folder: Path) -> tuple[Path, ...]:
    """What of a server in that folder is not for models: its store, keys, configuration and logs."""
    found = (
        *(settings.store, settings.config_file, folder),
        *(settings.management_key_file, settings.inference_key_file, settings.api_key_file),
        *(settings.keystore, settings.private_key_file),
        *(settings.log_location, settings.metrics_location),
    )
    return tuple(path.absolute() for path in found if path is not None)
