"""model-config.yaml: what the server reads of it.

Source of keys and meanings: TorchServe's model-config.yaml. Pure; the text comes from the archive.
"""

from __future__ import annotations

from typing import Any

import msgspec

from torchkeeper.config.model_settings import TABLE, GivenSettings, In, from_yaml
from torchkeeper.wire.yaml_text import read_yaml

#: The keys that the server reads.
KNOWN = tuple(row.name for row in TABLE if In.YAML in row.places)


def parse_model_config(text: str, where: str) -> tuple[GivenSettings, tuple[str, ...]]:
    """The server's part of a model-config.yaml, and sentences about what was ignored.

    As in TorchServe a wrong type costs the key and an unreadable file the whole; both are said.
    """
    try:
        found = read_yaml(text)
    except ValueError as error:
        return GivenSettings(), (f"{where} is no valid YAML, defaults are used: {error}",)
    if found is None:
        return GivenSettings(), ()
    if not isinstance(found, dict):
        return GivenSettings(), (f"{where} is not a mapping, defaults are used",)
    kept, lost = _sendable(found)
    given, complaints = from_yaml(kept, where)
    return given, (*complaints, *(f"{where}: {sentence} and is ignored" for sentence in lost))


def _sendable(found: dict[object, Any]) -> tuple[dict[object, Any], list[str]]:
    """What workers, who get the file's values, can be sent; and sentences about the rest."""
    kept, lost = {}, []
    for key, value in found.items():
        try:
            msgspec.msgpack.encode(value)
        except (OverflowError, RecursionError, TypeError, ValueError) as error:
            lost.append(f"{key} cannot be handed to workers ({error})")
        else:
            kept[key] = value
    return kept, lost
