"""What a row of the table of model settings is, where a key may stand, and who says something of a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any

from torchkeeper.config.model_rules import Rule

#: Characters of a bad value that a complaint repeats.
_SHOWN = 100


class In(Flag):
    """Where a key may stand."""

    YAML = auto()
    MODELS = auto()
    SNAPSHOT = auto()
    DESCRIPTION = auto()


class SettingSource(Enum):
    """Who says something of a model."""

    REQUEST = "request"
    SNAPSHOT = "model_snapshot"
    YAML = "model-config.yaml"
    MODELS = "models"
    SETTING = "setting"
    DEFAULT = "default"


@dataclass(frozen=True)
class ModelKey:
    """A row of the table."""

    attribute: str
    #: In files, JSON and descriptions.
    name: str
    rule: Rule[Any]
    default: object
    places: In
    meaning: str
    #: In registrations; empty where they cannot say it.
    parameter: str = ""
    unit: str = ""
    #: The key of config.properties that holds where nobody says anything of the model.
    setting: str = ""

    def complaint(self, value: object) -> str:
        """Why a value is not taken, with its name in front."""
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
        return f"{self.name}: {shown} must be {self.rule.wanted}"


@dataclass(frozen=True)
class Told:
    """What somebody says, and who; `place` is the file, or the path in the JSON."""

    value: Any
    source: SettingSource
    place: str = ""

    def __str__(self) -> str:
        return f"{self.source.value}/{self.place}" if self.place else self.source.value
