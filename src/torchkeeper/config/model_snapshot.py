"""The models of a running server as text: the JSON of the key `model_snapshot`, read and written. Pure.

Knows nothing of files (see `snapshot`) nor of running models. Source of names, fields and their order:
TorchServe 0.12's snapshots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchkeeper.config.model_key import In, SettingSource, Told
from torchkeeper.config.model_rules import moment
from torchkeeper.config.model_settings import TABLE, GivenSettings, from_json


@dataclass(frozen=True)
class VersionSnapshot:
    """One version of a model as a snapshot keeps it."""

    name: str
    version: str
    #: The archive's name in the model store.
    mar_name: str
    default_version: bool = True
    #: By their names in the JSON's table.
    given: GivenSettings = field(default_factory=GivenSettings)

    @classmethod
    def of(
        cls, name: str, version: str, mar_name: str, *, default_version: bool, values: Mapping[str, Any]
    ) -> VersionSnapshot:
        """With those of the values, by attribute, that snapshots keep."""
        told = {
            row.attribute: Told(values[row.attribute], SettingSource.SNAPSHOT, f"{name}/{version}/{row.name}")
            for row in TABLE
            if In.SNAPSHOT in row.places and values.get(row.attribute) is not None
        }
        return cls(name, version, mar_name, default_version, GivenSettings(told))


@dataclass(frozen=True)
class ModelSnapshot:
    """The models of a server at one moment."""

    #: The file's name.
    name: str
    #: Milliseconds since 1970.
    created: int
    versions: tuple[VersionSnapshot, ...]


def format_model_snapshot(snapshot: ModelSnapshot) -> str:
    """The JSON of the key `model_snapshot`, byte for byte as TorchServe writes it."""
    models: dict[str, dict[str, dict[str, Any]]] = {}
    for version in snapshot.versions:
        fields: dict[str, Any] = {"defaultVersion": version.default_version, "marName": version.mar_name}
        values = version.given.values()
        for row in TABLE:
            value = values.get(row.attribute)
            if In.SNAPSHOT in row.places and value is not None and not value == row.default == 0:
                fields[row.name] = _shortest(value)
        models.setdefault(version.name, {})[version.version] = fields
    found = {
        "name": snapshot.name,
        "modelCount": len(snapshot.versions),
        "created": snapshot.created,
        "models": models,
    }
    return json.dumps(found, indent=2, ensure_ascii=False)


def parse_model_snapshot(text: str, complaints: list[str]) -> ModelSnapshot | None:
    """The models that the JSON of a `model_snapshot` key names; None for an empty text.

    What TorchServe reads and makes no sense is a complaint.

    Raises:
        ValueError: it is no such JSON; the text says what is wrong.
    """
    if not text.strip():
        return None
    found = read_json(text)
    models = found.get("models") if isinstance(found, dict) else None
    if not isinstance(models, dict) or not all(isinstance(versions, dict) for versions in models.values()):
        raise ValueError('must be JSON of the form {"models": {"<name>": {"<version>": {...}}}}')
    try:
        created = moment.read(found.get("created") or 0)
    except (TypeError, ValueError):
        raise ValueError(f"created: {found['created']!r} must be {moment.wanted}") from None
    versions = [
        _version(name, number, fields, complaints)
        for name, versions in models.items()
        for number, fields in versions.items()
    ]
    return ModelSnapshot(str(found.get("name", "")), created, tuple(versions))


def read_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None


def _version(name: str, number: str, fields: object, complaints: list[str]) -> VersionSnapshot:
    path = f"{name}/{number}"
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must be an object")
    mar_name = fields.get("marName")
    if not isinstance(mar_name, str) or not mar_name:
        raise ValueError(f"{path} names no marName")
    default = str(fields.get("defaultVersion", True)).lower() == "true"
    # Before minWorkers was written there was one worker.
    given = from_json({"minWorkers": 1, **fields}, path, SettingSource.SNAPSHOT, complaints)
    return VersionSnapshot(name, number, mar_name, default, given)


def _shortest(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value
