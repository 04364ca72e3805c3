"""Versions as snapshots keep them, for tests."""

from __future__ import annotations

from torchkeeper.config.model_key import In
from torchkeeper.config.model_settings import TABLE
from torchkeeper.config.model_snapshot import VersionSnapshot

KEPT = tuple(row.attribute for row in TABLE if In.SNAPSHOT in row.places)


def kept(name: str, version: str, mar_name: str, default: bool, *values: object) -> VersionSnapshot:
    """With the values of the first keys that snapshots keep, in TorchServe's order."""
    given = dict(zip(KEPT, values, strict=False))
    return VersionSnapshot.of(name, version, mar_name, default_version=default, values=given)
