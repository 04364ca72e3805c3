"""What becomes of config.properties or a snapshot, key by key; of metrics.yaml; of log4j2.xml.

What is not here yet is asked of the table of settings, so that this page cannot fall behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from torchkeeper.archive.model_url import read_model_url
from torchkeeper.archive.reach import Reach
from torchkeeper.archive.store import find_at_start
from torchkeeper.config.layers import Layers, Origin, hint
from torchkeeper.config.pods import open_doors
from torchkeeper.config.properties import parse_properties, substitute
from torchkeeper.config.setting_key import Effect
from torchkeeper.config.settings import named_url
from torchkeeper.config.table import BY_NAME, KEYS, Configured
from torchkeeper.config.types import SERVICES
from torchkeeper.doctor.finding import Finding, Verdict
from torchkeeper.errors import ModelNotAt, SettingsError
from torchkeeper.wire.metrics_yaml import HANDLERS, SERVERS, MetricsYamlError, load_metrics_yaml, metrics_of

#: Keys that work and yet differ from TorchServe, and how.
CHANGED = {
    "default_response_timeout": "also if a model-config.yaml names no responseTimeout (TorchServe: 120)",
    "default_startup_timeout": "also if a model-config.yaml names no startupTimeout (TorchServe: 120 there)",
    "max_request_size": "a larger body is answered with 413 and JSON (TorchServe: no JSON)",
    "max_response_size": "a larger answer fails its own request only (TorchServe: the worker and its batch)",
    "job_queue_size": "a full queue is still 503, now with Retry-After",
}


def examine_properties(text: str, where: str, environ: Mapping[str, str]) -> tuple[list[Finding], Configured]:
    """A finding per key of the file and per TS_ variable that counts, and the values that would hold.

    A bad value is left at its default.
    """
    findings: list[Finding] = []
    #: Those that strict_config refuses.
    passed_over: list[Finding] = []
    layers = Layers()
    values = {key.name: key.read(key.default).value for key in KEYS}

    def take(name: str, text: str, place: str) -> None:
        shown = "" if "\n" in text or len(text) > 100 or BY_NAME[name].secret else f"{text} "
        try:
            read = BY_NAME[name].read(text)
        except ValueError as error:
            findings.append(Finding(place, name, Verdict.BROKEN, f"{shown}{error}"))
            return
        values[name] = read.value
        why = f"{shown}{read.complaint}; {read.instead}"
        verdict = Verdict.CHANGED if BY_NAME[name].effect is Effect.WORKS else Verdict.IGNORED
        findings.append(Finding(place, name, verdict, why) if read.complaint else _key(name, place))
        passed_over.extend(findings[-1:] if read.complaint else [])

    for entry in parse_properties(text):
        place = f"{where}:{entry.line}"
        if entry.key in BY_NAME and (reason := BY_NAME[entry.key].barred):
            findings.append(Finding(place, entry.key, Verdict.BROKEN, reason))
        elif entry.key in BY_NAME:
            try:
                text = substitute(entry.value, environ)
            except SettingsError as error:
                findings.append(Finding(place, entry.key, Verdict.BROKEN, error.message))
                continue
            layers.give(entry.key, text, Origin("file", where, entry.line))
            take(entry.key, text, place)
        else:
            why = f"TorchServe has no such key{hint(entry.key)}"
            passed_over.append(Finding(place, entry.key, Verdict.IGNORED, why))
            findings.append(passed_over[-1])
    for name in layers.take_environment(environ):
        text, origin = layers.texts[name]
        take(name, text, str(origin))
    for name in layers.be_strict():
        values[name] = BY_NAME[name].read(layers.texts[name][0]).value
    if barred := layers.barred_urls(environ):
        findings.append(Finding("environment", "allowed_urls", Verdict.IGNORED, barred))
    if values["strict_config"]:
        findings = [replace(one, verdict=Verdict.BROKEN) if one in passed_over else one for one in findings]
    return findings, Configured(**values)


def _key(name: str, place: str) -> Finding:
    key = BY_NAME[name]
    if key.effect in (Effect.NONE, Effect.RECORD):
        return Finding(place, name, Verdict.IGNORED, f"not needed: {key.why}")
    if key.effect is Effect.LATER:
        return Finding(place, name, Verdict.IGNORED, f"torchkeeper does not have {key.why} yet")
    if name in CHANGED:
        return Finding(place, name, Verdict.CHANGED, CHANGED[name])
    return Finding(place, name, Verdict.WORKS)


def examine_exposure(setup: Configured, where: str) -> list[Finding]:
    """Whether the server would start outside of containers as open as that."""
    doors = open_doors(setup)
    if not doors or setup.insecure or not setup.disable_token_authorization:
        return []
    why = f"tokens are off and others reach {', '.join(doors)}: outside of containers it takes --insecure"
    return [Finding(where, "insecure", Verdict.CHANGED, why)]


# --- the model store ------------------------------------------------------------------------------------


def examine_store(setup: Configured, store: Path | None, where: str) -> list[Finding]:
    """Whether the store and the models that the configuration names are there."""
    if store is None:
        return [Finding(where, "model_store", Verdict.BROKEN, "Missing mandatory parameter --model-store")]
    if {f"{service}:" for service in SERVICES}.intersection(store.parts):
        why = "its archives are fetched when the server starts; they are not looked at here"
        return [Finding(where, "model_store", Verdict.WORKS, why)]
    if not store.is_dir():
        return [Finding(where, "model_store", Verdict.BROKEN, f"--model-store directory not found: {store}")]
    snapshot = setup.model_snapshot
    if snapshot is not None:
        return [
            Finding(
                where, f"model {version.name} version {version.version}", *_is_there(store, version.mar_name)
            )
            for version in snapshot.versions
        ]
    findings = []
    for text in setup.load_models:
        url = named_url(text)[1]
        if url.lower() != "all":
            findings.append(Finding(where, f"load_models: {text}", *_can_be_had(setup, store, url)))
    return findings


def _can_be_had(setup: Configured, store: Path, url: str) -> tuple[Verdict, str]:
    try:
        asked = read_model_url(url)
        if not asked.remote:
            return _is_there(store, asked.bare)
        Reach(setup.allowed_urls, strict=setup.strict).check(asked)
    except ModelNotAt as error:
        return Verdict.BROKEN, error.cause or error.message
    return Verdict.WORKS, "fetched at start; not examined here"


def _is_there(store: Path, name: str) -> tuple[Verdict, str]:
    found = find_at_start(store, name)
    if found is not None:
        return Verdict.WORKS, "" if found.name == name else f"the model store's {found.name} is taken"
    return Verdict.BROKEN, f"{name} is not in {store}"


# --- files beside it ------------------------------------------------------------------------------------


def examine_metrics(text: str, where: str) -> list[Finding]:
    """What becomes of a metrics.yaml."""
    try:
        found = load_metrics_yaml(text)
    except MetricsYamlError as error:
        return [Finding(where, "metrics", Verdict.BROKEN, " ".join(str(error).split()))]
    findings = []
    for section in (SERVERS, HANDLERS):
        try:
            metrics = metrics_of(found.get(section))
        except MetricsYamlError as error:
            findings.append(Finding(where, section, Verdict.BROKEN, str(error)))
            continue
        if section in found:
            findings.append(Finding(where, section, Verdict.WORKS, f"{len(metrics)} metrics"))
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
