"""`torchkeeper doctor` and `inspect`: what becomes of a set-up, what an archive holds; none of it is run.

Reads the files and puts the parts' findings together. Must not import torch, nor the server.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torchkeeper.archive.store import SUFFIXES, find_at_start, stored_names
from torchkeeper.config.properties import properties_text
from torchkeeper.config.settings import CommandLine, find_config, named_url
from torchkeeper.config.table import Configured
from torchkeeper.doctor.archives import examine_archive
from torchkeeper.doctor.configuration import (
    examine_exposure,
    examine_log4j,
    examine_metrics,
    examine_properties,
    examine_store,
)
from torchkeeper.doctor.finding import Finding as Finding
from torchkeeper.doctor.finding import Verdict as Verdict
from torchkeeper.doctor.places import examine_place
from torchkeeper.errors import SettingsError
from torchkeeper.machine.torch_release import broken_promise, installed_torch

_LOG4J = re.compile(r"-Dlog4j2?\.configurationFile=(?:file://)?(\S+)")


def examine(
    ts_config: Path | None, model_store: Path | None, environ: Mapping[str, str], cwd: Path
) -> tuple[Finding, ...]:
    """Everything there is to say about a set-up; the same file is taken as `torchserve` would take."""
    try:
        config, beaten = find_config(CommandLine(ts_config=ts_config), environ, cwd)
        text = "" if config is None else properties_text(config.read_bytes())
    except SettingsError as error:
        return (Finding(str(ts_config or "TS_CONFIG_FILE"), "file", Verdict.BROKEN, error.message),)
    except OSError as error:
        return (Finding(str(config), "file", Verdict.BROKEN, f"cannot be read: {error}"),)
    where = "defaults" if config is None else config.name
    findings: list[Finding] = []
    if beaten is not None:
        why = f"the snapshot {config} is used instead, as in TorchServe; --ncs starts without it"
        findings.append(Finding(beaten.name, "file", Verdict.IGNORED, why))
    of_keys, setup = examine_properties(text, where, environ)
    named = model_store or setup.model_store
    store = cwd / named if named else None
    findings += of_keys + examine_exposure(setup, where) + examine_store(setup, store, where)
    if unsafe := broken_promise(installed_torch()):
        findings.append(Finding("torch", "weights_only", Verdict.CHANGED, unsafe))
    folder = cwd if config is None else config.parent
    findings += _beside(setup, folder, cwd)
    if store is not None and store.is_dir():
        findings += _archives(store, setup)
    return tuple(findings)


def examine_places(paths: Iterable[Path], environ: Mapping[str, str], cwd: Path) -> tuple[Finding, ...]:
    """What becomes of files and folders, each as what it is: a Dockerfile, YAML, a model's folder."""
    found: list[Finding] = []
    for path in paths:
        with tempfile.TemporaryDirectory(prefix="torchkeeper-doctor-") as scratch:
            found += examine_place(
                path, lambda config, store: examine(config, store, environ, cwd), Path(scratch)
            )
    return tuple(found)


def _beside(setup: Configured, folder: Path, cwd: Path) -> list[Finding]:
    """metrics.yaml and log4j2.xml, where the configuration names them or beside it."""
    named = _LOG4J.search(setup.vmargs or "")
    return [
        *_file(setup.metrics_config, cwd, folder / "metrics.yaml", examine_metrics),
        *_file(Path(named[1]) if named else None, cwd, folder / "log4j2.xml", examine_log4j),
    ]


def _file(
    named: Path | None, cwd: Path, beside: Path, examiner: Callable[[str, str], list[Finding]]
) -> list[Finding]:
    path = beside if named is None else cwd / named
    try:
        return examiner(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        if named is None:
            return []
        return [Finding(path.name, "file", Verdict.IGNORED, f"cannot be read: {error}")]


def _archives(store: Path, setup: Configured) -> list[Finding]:
    findings = []
    named = (find_at_start(store, named_url(text)[1]) for text in setup.load_models)
    elsewhere = [found.name for found in named if found is not None and os.path.isabs(found.name)]
    for name in (*stored_names(store, (*SUFFIXES, ".war")), *elsewhere):
        with tempfile.TemporaryDirectory(prefix="torchkeeper-doctor-") as scratch:
            findings += examine_archive(store / name, setup, Path(scratch) / "archive")
    return findings
