"""What becomes of config.properties or a snapshot, key by key; of metrics.yaml; of log4j2.xml.

What is not here yet is asked of the table of settings, so that this page cannot fall behind it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from torchkeeper.doctor.finding import Finding, Verdict
from torchkeeper.errors import SettingsError
from torchkeeper.properties import parse_properties, substitute
from torchkeeper.setting_table import BY_NAME, KEYS, Address, port_number, whole_number
from torchkeeper.settings import named_url
from torchkeeper.store import find_stored

#: Keys that work and yet differ from TorchServe, and how.
CHANGED = {
    "default_response_timeout": "also if a model-config.yaml names no responseTimeout (TorchServe: 120)",
    "default_startup_timeout": "also if a model-config.yaml names no startupTimeout (TorchServe: 120 there)",
    "max_request_size": "a larger body is answered with 413 and JSON (TorchServe: no JSON)",
    "max_response_size": "a larger answer fails its own request only (TorchServe: the worker and its batch)",
    "job_queue_size": "a full queue is still 503, now with Retry-After",
}
_REMOTE = ("http://", "https://", "file://", "s3://")


@dataclass(frozen=True)
class Setup:
    """What the rest of the examination needs of a configuration; bad values are left at their defaults."""

    values: Mapping[str, Any]
    given: frozenset[str] = frozenset()

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


def examine_properties(text: str, where: str, environ: Mapping[str, str]) -> tuple[list[Finding], Setup]:
    """A finding per key of the file and per TS_ variable that counts, and the values that would hold."""
    findings: list[Finding] = []
    values = {key.name: _value(key.name, key.default) for key in KEYS}
    given: set[str] = set()

    def take(name: str, written: str, place: str) -> None:
        given.add(name)
        try:
            values[name] = _value(name, substitute(written.strip(), environ))
        except SettingsError as error:
            findings.append(Finding(place, name, Verdict.BROKEN, error.message))
        except ValueError as error:
            shown = "" if "\n" in written or len(written) > 100 else f"{written} "
            findings.append(Finding(place, name, Verdict.BROKEN, f"{shown}{error}"))
        else:
            findings.append(_key(name, place))

    for entry in parse_properties(text):
        place = f"{where}:{entry.line}"
        if entry.key in BY_NAME:
            take(entry.key, entry.value, place)
        else:
            near = difflib.get_close_matches(entry.key, BY_NAME, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            findings.append(Finding(place, entry.key, Verdict.IGNORED, f"TorchServe has no such key{hint}"))
    if values["enable_envvars_config"]:
        for key in KEYS:
            barred = key.name == "allowed_urls" and not values["use_env_allowed_urls"]
            if key.from_env and key.variable in environ and not barred:
                take(key.name, environ[key.variable], f"environment {key.variable}")
    setup = Setup(values, frozenset(given))
    return findings + _together(setup, where), setup


def _value(name: str, text: str) -> Any:
    key = BY_NAME[name]
    empty = not text and not key.default and key.parse in (whole_number, port_number)
    return None if empty else key.parse(text)


def _key(name: str, place: str) -> Finding:
    later = BY_NAME[name].later
    if later.startswith("nothing"):
        why = later.removeprefix("nothing").removeprefix(": ") or "TorchServe's own bookkeeping"
        return Finding(place, name, Verdict.IGNORED, f"not needed: {why}")
    if later:
        return Finding(place, name, Verdict.IGNORED, f"torchkeeper does not have {later} yet")
    if name in CHANGED:
        return Finding(place, name, Verdict.CHANGED, CHANGED[name])
    return Finding(place, name, Verdict.WORKS)


def _together(setup: Setup, where: str) -> list[Finding]:
    """What several keys, or missing ones, mean together."""
    findings = []
    for name in ("inference_address", "management_address", "metrics_address"):
        address: Address = setup[name]
        if address.scheme == "https" and BY_NAME["keystore"].later:
            findings.append(
                Finding(where, name, Verdict.BROKEN, f"{address}: torchkeeper does not have TLS yet")
            )
    if not setup["disable_token_authorization"] and BY_NAME["disable_token_authorization"].later:
        why = "torchkeeper does not have tokens yet: everybody who reaches the port is served"
        findings.append(Finding(where, "token authorization", Verdict.CHANGED, why))
    return findings


# --- the model store ------------------------------------------------------------------------------------


def examine_store(setup: Setup, store: Path | None, where: str) -> list[Finding]:
    """Whether the store and the models that the configuration names are there."""
    if store is None:
        return [Finding(where, "model_store", Verdict.BROKEN, "Missing mandatory parameter --model-store")]
    if not store.is_dir():
        return [Finding(where, "model_store", Verdict.BROKEN, f"--model-store directory not found: {store}")]
    snapshot = setup["model_snapshot"]
    if snapshot is not None:
        return [
            Finding(
                where, f"model {version.name} version {version.version}", *_is_there(store, version.mar_name)
            )
            for version in snapshot.versions
        ]
    findings = []
    for text in setup["load_models"]:
        url = named_url(text)[1].partition("#sha256=")[0]
        if url.lower() != "all":
            what = f"load_models: {text}"
            remote = url.startswith(_REMOTE)
            findings.append(
                Finding(where, what, *(_may_come(setup, url) if remote else _is_there(store, url)))
            )
    return findings


def _may_come(setup: Setup, url: str) -> tuple[Verdict, str]:
    patterns: Sequence[re.Pattern[str]] = setup["allowed_urls"]
    if any(re.fullmatch(pattern.pattern, url, re.IGNORECASE) for pattern in patterns):
        return Verdict.WORKS, "fetched at start; not examined here"
    return Verdict.BROKEN, "no pattern of allowed_urls matches"


def _is_there(store: Path, name: str) -> tuple[Verdict, str]:
    found = find_stored(store, name)
    if found is not None:
        return Verdict.WORKS, "" if found.name == name else f"the model store's {found.name} is taken"
    return Verdict.BROKEN, f"{name} is not in {store}"


# --- files beside it ------------------------------------------------------------------------------------

_METRIC_KINDS = ("counter", "gauge", "histogram")


def examine_metrics(text: str, where: str) -> list[Finding]:
    """What becomes of a metrics.yaml."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        return [Finding(where, "metrics", Verdict.BROKEN, f"no valid YAML: {' '.join(str(error).split())}")]
    if not isinstance(found, dict):
        return [Finding(where, "metrics", Verdict.BROKEN, "not a mapping")]
    findings = []
    for section in ("ts_metrics", "model_metrics"):
        kinds = found.get(section)
        if not isinstance(kinds, dict):
            continue
        findings += [
            Finding(where, f"{section}.{kind}", Verdict.BROKEN, f"must be one of {', '.join(_METRIC_KINDS)}")
            for kind in kinds
            if kind not in _METRIC_KINDS
        ]
        entries = [entry for entries in kinds.values() if isinstance(entries, list) for entry in entries]
        whole = all(isinstance(one, dict) and {"name", "unit", "dimensions"} <= one.keys() for one in entries)
        if not whole:
            why = "each metric needs name, unit and dimensions"
            findings.append(Finding(where, section, Verdict.BROKEN, why))
        elif later := BY_NAME["metrics_config"].later:
            why = f"{len(entries)} metrics: torchkeeper does not have {later} yet"
            findings.append(Finding(where, section, Verdict.IGNORED, why))
        else:
            findings.append(Finding(where, section, Verdict.WORKS, f"{len(entries)} metrics"))
    return findings


def examine_log4j(text: str, where: str) -> list[Finding]:
    """What becomes of a log4j2.xml."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return [Finding(where, "log4j2", Verdict.IGNORED, f"no XML, --log-config would refuse it: {error}")]
    files = [
        appender.get("fileName", appender.get("name", "?"))
        for appender in root.iter()
        if appender.get("fileName") is not None
    ]
    levels = [
        f"{logger.get('name', 'root')}={logger.get('level')}"
        for logger in root.iter()
        if logger.tag.rpartition("}")[2] in ("Logger", "Root") and logger.get("level")
    ]
    findings = [
        Finding(
            where, "levels", Verdict.CHANGED, f"{', '.join(levels)}: read, if --log-config names the file"
        )
    ] * bool(levels)
    why = f"{', '.join(files)}: the log files are those of TorchServe's own configuration, in LOG_LOCATION"
    return findings + [Finding(where, "files", Verdict.IGNORED, why)] * bool(files)
