"""What the keys that are JSON about models can be: a text in, a value or a ValueError out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torchkeeper.config.model_key import SettingSource
from torchkeeper.config.model_rules import read_limits
from torchkeeper.config.model_settings import GivenSettings, from_json
from torchkeeper.config.model_snapshot import parse_model_snapshot, read_json
from torchkeeper.config.types import Form, Instead, comma_list

T = TypeVar("T")


def _complaining(read: Callable[[str, list[str]], T]) -> Form[T]:
    """The form of JSON in which single values may be passed over."""

    def parse(value: str) -> T:
        complaints: list[str] = []
        found = read(value, complaints)
        if complaints:
            raise ValueError("; ".join(complaints))
        return found

    return Form(parse, lambda value: Instead(read(value, []), "the defaults are used"))


def _read_models(value: str, complaints: list[str]) -> Mapping[str, Mapping[str, GivenSettings]]:
    if not value.strip():
        return {}
    found = read_json(value)
    if not isinstance(found, dict) or not all(
        isinstance(versions, dict) and all(isinstance(fields, dict) for fields in versions.values())
        for versions in found.values()
    ):
        raise ValueError('must be JSON of the form {"<name>": {"<version>": {...}}}')
    return {
        name: {
            version: from_json(fields, f"{name}/{version}", SettingSource.MODELS, complaints)
            for version, fields in versions.items()
        }
        for name, versions in found.items()
    }


#: The JSON of the key `models`, and a snapshot's.
models = _complaining(_read_models)
snapshot = _complaining(parse_model_snapshot)


def _limits(value: str) -> Mapping[str, int]:
    return read_limits(dict(part.partition("=")[::2] for part in comma_list.parse(value)))


#: Limits of workers, by commas.
limits = Form(_limits)
