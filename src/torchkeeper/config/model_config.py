"""model-config.yaml: what the server reads of it.

Source of keys and meanings: TorchServe's model-config.yaml. Pure; the text comes from the archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from torchkeeper.config import batch_rules, execution_rules
from torchkeeper.config.model_key import In, SettingSource, Told
from torchkeeper.config.model_settings import TABLE, GivenSettings
from torchkeeper.wire.yaml_text import read_yaml

#: The keys that the server reads.
KNOWN = tuple(row.name for row in TABLE if In.YAML in row.places)


@dataclass(frozen=True)
class ReplacingConfig:
    """A model-config.yaml of the operator's, whose keys take the place of the archive's own."""

    #: The file, as it was named.
    where: str
    found: Mapping[object, Any]


def read_replacing(text: str, where: str) -> ReplacingConfig:
    """Reads a model-config.yaml of the operator's. Strict: nobody else could have meant it.

    Raises:
        ValueError: it cannot be read, or a key of it does not hold; one sentence.
    """
    found = read_yaml(text)
    if not isinstance(found, dict):
        raise ValueError("it is not a mapping")
    given, complaints = parse_model_config(text, where, whole=False)
    if said := (*given.refused, *complaints):
        raise ValueError(said[0].removeprefix(f"{where}: ").removesuffix(" and is ignored"))
    return ReplacingConfig(where, found)


def parse_model_config(
    text: str, where: str, over: ReplacingConfig | None = None, *, whole: bool = True
) -> tuple[GivenSettings, tuple[str, ...]]:
    """The server's part of a model-config.yaml, and sentences about what was ignored.

    As in TorchServe a wrong type costs the key and an unreadable file the whole; both are said. Keys of
    `over` take the place of its own, whole sections too. Without `whole` it may lack what another file says.
    """
    found, unread = _mapping(text, where)
    places = dict.fromkeys(found, where)
    if over is not None:
        found, places = {**found, **over.found}, {**places, **dict.fromkeys(over.found, over.where)}
    kept, lost = _sendable(found)
    given, complaints = _given(kept, where, places)
    if whole and (sentence := batch_rules.unpaired(kept)) is not None:
        given = replace(given, refused=(*given.refused, f"{where}: {sentence}"))
    return given, (*unread, *complaints, *(f"{where}: {sentence} and is ignored" for sentence in lost))


def _mapping(text: str, where: str) -> tuple[dict[object, Any], tuple[str, ...]]:
    try:
        found = read_yaml(text)
    except ValueError as error:
        return {}, (f"{where} is no valid YAML, defaults are used: {error}",)
    if found is None or isinstance(found, dict):
        return found or {}, ()
    return {}, (f"{where} is not a mapping, defaults are used",)


def _given(
    found: dict[object, Any], where: str, places: Mapping[object, str]
) -> tuple[GivenSettings, list[str]]:
    """What a model-config.yaml says, and complaints; as in TorchServe a wrong type costs the key.

    What refuses the model is no complaint, it stands in what is returned. `places` are the files of keys.
    """
    told: dict[str, Told] = {}
    complaints: list[str] = []
    refused = [sentence for sentence in (execution_rules.clash(found),) if sentence is not None]
    for row in TABLE:
        if In.YAML not in row.places or row.name not in found:
            continue
        value = found[row.name]
        if row.rule.fits(value):
            told[row.attribute] = Told(row.rule.plain(value), SettingSource.YAML, places[row.name])
        elif row.rule.refuses is not None:
            refused.append(str(row.rule.refuses(value)))
        elif row.rule.strict:
            refused.append(row.complaint(value))
        else:
            complaints.append(f"{where}: {row.complaint(value)} and is ignored")
    low, high = told.get("min_workers"), told.get("max_workers")
    if low is not None and high is not None and high.value < low.value:
        complaints.append(f"Invalid model config in mar, minWorkers:{low.value}, maxWorkers:{high.value}")
        del told["min_workers"], told["max_workers"]
    sentences = tuple(f"{where}: {sentence}" for sentence in refused)
    return GivenSettings(told, {str(key): value for key, value in found.items()}, sentences), complaints


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
