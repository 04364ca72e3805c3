"""Files that configure the server or a model: settings, or one sentence that names what is wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from targets.target import Target
from torchkeeper.config.log_config import parse_log_config
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.model_settings import resolve
from torchkeeper.config.properties import parse_properties, properties_text, write_properties
from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.config.table import KEYS
from torchkeeper.errors import SettingsError
from torchkeeper.wire.metrics_yaml import MetricsYamlError, load_metrics_yaml, metrics_of
from torchkeeper.wire.mlmodel import read_mlmodel

_MEMORY = Path("/dev/shm")


def run(data: bytes) -> None:
    """The first byte says of which file the others are."""
    if data:
        _READERS[data[0] % len(_READERS)](data[1:])


def _properties(data: bytes) -> None:
    found = {one.key: one.value for one in parse_properties(properties_text(data))}
    assert {one.key: one.value for one in parse_properties(write_properties(found))} == found


def _settings(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as made:
        folder = Path(made)
        (folder / "config.properties").write_bytes(data)
        try:
            _, warnings = load_settings(CommandLine(), {"TEMP": made, "HOME": made}, folder)
        except SettingsError as error:
            assert error.message
        else:
            assert all(warnings)


def _model_config(data: bytes) -> None:
    given, complaints = parse_model_config(data.decode("utf-8", "replace"), "m.mar")
    assert all(complaint.strip() for complaint in complaints)
    settings = resolve([given])
    assert settings.batch_size >= 1
    assert settings.job_queue_size >= 0
    assert settings.response_timeout >= 0


def _log_config(data: bytes) -> None:
    name, _, text = data.partition(b"\n")
    try:
        parse_log_config(name.decode("latin-1"), text, {"LOG_LEVEL": "debug"})
    except SettingsError as error:
        assert error.message


def _metrics(data: bytes) -> None:
    try:
        for section in load_metrics_yaml(data.decode("utf-8", "replace")).values():
            metrics_of(section)
    except MetricsYamlError as error:
        assert str(error)


def _mlmodel(data: bytes) -> None:
    try:
        found = read_mlmodel(data)
    except ValueError as error:
        assert str(error)
    else:
        assert ".." not in Path(found.data).parts


_READERS: tuple[Callable[[bytes], None], ...] = (
    *(_properties, _settings, _model_config, _log_config, _metrics, _mlmodel),
)
_MODELS = b'models={"m": {"1.0": {"defaultVersion": true, "marName": "m.mar", "batchSize": 4}}}\n'
_YAML = b"""minWorkers: 1
maxWorkers: 2
responseTimeout: 0x10
handler: {a: &x [1, .nan, 1:30], b: *x, ? [c] : !!binary aGk=}
deviceIds: [0, 1]
v2Inputs: [{name: x, datatype: FP32, shape: [-1, 3]}]
"""
_XML = b"""x.xml
<?xml version="1.0"?>
<Configuration><Loggers><Logger name="org.pytorch.serve" level="${env:LOG_LEVEL:-info}"/>
<Root level="warn"/></Loggers></Configuration>
"""
_METRICS = b"""ts_metrics:
  counter: [{name: A, unit: &u ms, dimensions: [Level]}]
model_metrics: {gauge: [{name: B, unit: *u}], histogram: }
"""
_MLMODEL = b"""flavors:
  pytorch: {model_data: data, code: code, pytorch_version: 2.0, extra_files: [{path: a}]}
signature: {inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}]'}
"""


def seeds() -> Iterator[bytes]:
    lines = "".join(f"{key.name}={key.default}\n" for key in KEYS).encode()
    for kind in (b"\0", b"\1"):
        yield from (kind + lines, kind + _MODELS, kind + b"a\\u20ac \\\n  b\\=: \\x\\uD83D\\uDE00\n! c\n\\")
        yield from (kind + f"{key.name}={key.default}".encode() for key in KEYS)
    yield b"\2" + _YAML
    yield from (b"\3" + _XML, b"\3x.yaml\nversion: 1\nroot: {level: INFO}\n")
    yield b"\4" + _METRICS
    yield b"\5" + _MLMODEL


TARGET = Target(run, seeds, longest=8192)
