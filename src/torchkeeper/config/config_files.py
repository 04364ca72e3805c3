"""Files with settings of single models that a command line names: `--model-config NAME=FILE`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torchkeeper.config.model_config import ReplacingConfig, read_replacing
from torchkeeper.errors import SettingsError, reason_of


def model_configs(given: Iterable[str], cwd: Path) -> Mapping[str, ReplacingConfig]:
    """What each file says, by the model's name.

    Raises:
        SettingsError: no model or no file is named, or the file does not hold; one line.
    """
    found: dict[str, ReplacingConfig] = {}
    for text in given:
        name, equals, file = text.partition("=")
        flag = f"--model-config {text}"
        if not (name and equals and file):
            raise SettingsError(f"{flag}: write NAME=FILE, such as mnist=mnist.model-config.yaml")
        if name in found:
            raise SettingsError(f"{flag}: {found[name].where} is named for {name} already")
        try:
            found[name] = read_replacing((cwd / file).read_text(encoding="utf-8"), file)
        except FileNotFoundError:
            raise SettingsError(f"{flag}: there is no such file") from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"{flag}: {reason_of(error)}") from None
    return found
