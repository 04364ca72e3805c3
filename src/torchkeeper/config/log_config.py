"""What a `--log-config` file says: levels from a log4j2 XML file, or a logging configuration for Python.

Pure: bytes in, levels and warnings out. Of log4j2 only levels mean something here; files, layouts and
policies are fixed, and one warning lists what the file asks of them. XML is read by expat alone, without a
document type, so that no entity is ever expanded or fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from xml.parsers import expat

from torchkeeper.errors import SettingsError
from torchkeeper.wire.yaml_text import read_yaml

#: log4j2's levels, with the numbers of Python's.
LEVELS = {"all": 0, "trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50, "off": 100}
#: Bytes that such a file may have.
MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class LogLevels:
    """The least level of the lines that are written, per file; `server` is ts_log.log."""

    server: int = LEVELS["info"]
    access: int = LEVELS["all"]
    model: int = LEVELS["all"]
    model_metrics: int = LEVELS["all"]
    ts_metrics: int = LEVELS["all"]


@dataclass(frozen=True)
class LogConfig:
    """What was read: levels, a dictionary for logging.config.dictConfig, and what has no effect."""

    levels: LogLevels = field(default_factory=LogLevels)
    python: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


#: TorchServe's loggers, and Multi Model Server's, with the field of LogLevels that each one sets.
LOGGERS = {
    "org.pytorch.serve": "server",
    "torchkeeper": "server",
    "ACCESS_LOG": "access",
    "MODEL_LOG": "model",
    "MODEL_METRICS": "model_metrics",
    "TS_METRICS": "ts_metrics",
    "com.amazonaws.ml.mms": "server",
    "MMS_METRICS": "ts_metrics",
}
#: Loggers of Java's libraries: there is nothing here that they could log.
_JAVA = re.compile(r"(io\.(netty|grpc)|org\.apache|com\.amazonaws|software\.amazon)(\..*)?")
_LOG4J_DATE = "%d{ISO8601}"
_DEFAULT_PATTERNS = (f"{_LOG4J_DATE} - %m%n", f"{_LOG4J_DATE} [%-5p] %t %c - %m%n")
_FILE = re.compile(
    r"\$\{env:(LOG|METRICS)_LOCATION:-logs\}/(access_log|model_log|ts_log|model_metrics|ts_metrics)(\..*)?\.log"
    r"(\.gz)?"
)
_FOLLOWED = (
    "files, layouts and policies are fixed; LOG_LOCATION and METRICS_LOCATION move the files, log_format=json"
)
_LOOK_UP = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")

#: Elements of log4j2 that mean nothing by themselves; their attributes that are fine with such a value only.
_ELEMENTS: dict[str, dict[str, Callable[[str], bool]]] = {
    "configuration": {},
    "appenders": {},
    "loggers": {},
    "policies": {},
    "timebasedtriggeringpolicy": {"interval": lambda value: value == "1"},
    "console": {"target": lambda value: value.upper() == "SYSTEM_OUT"},
    "rollingfile": {
        "filename": lambda value: bool(_FILE.fullmatch(value)),
        "filepattern": lambda value: bool(_FILE.fullmatch(value)),
    },
    "patternlayout": {"pattern": lambda value: value in _DEFAULT_PATTERNS},
    "sizebasedtriggeringpolicy": {"size": lambda value: value.replace(" ", "").upper() == "100MB"},
    "defaultrolloverstrategy": {"max": lambda value: value == "5"},
    "appenderref": {"level": lambda value: False},
}


def parse_log_config(name: str, data: bytes, environ: Mapping[str, str]) -> LogConfig:
    """The configuration in a file of that name.

    Raises:
        SettingsError: it cannot be read as what its name says.
    """
    if len(data) > MAX_BYTES:
        raise SettingsError(f"--log-config {name}: larger than {MAX_BYTES} bytes")
    suffix = name.rpartition(".")[2].lower()
    if suffix in ("yaml", "yml", "json"):
        return _parse_python(name, data)
    if suffix == "properties":
        return LogConfig(warnings=(f"--log-config {name}: log4j2's .properties form is not read, only XML",))
    return _parse_log4j(name, data, environ)


# --- Python's logging.config --------------------------------------------------------------------------------


def _parse_python(name: str, data: bytes) -> LogConfig:
    try:
        found = read_yaml(data)
    except ValueError as error:
        raise SettingsError(f"--log-config {name}: not YAML: {error}") from None
    if isinstance(found, dict) and any(str(key).lower() == "configuration" for key in found):
        return LogConfig(
            warnings=(f"--log-config {name}: log4j2's YAML and JSON are not read, only its XML",)
        )
    if not isinstance(found, dict) or found.get("version") != 1:
        raise SettingsError(f"--log-config {name}: neither log4j2 XML nor a dictConfig with `version: 1`")
    # The server's loggers exist before this is applied; switching them off is never what is meant.
    return LogConfig(python={"disable_existing_loggers": False, **found})


# --- log4j2 -------------------------------------------------------------------------------------------------


def _parse_log4j(name: str, data: bytes, environ: Mapping[str, str]) -> LogConfig:
    reader = _Log4j(name, environ)
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise SettingsError(f"--log-config {name}: not XML: {error}") from None
    if reader.top != "configuration":
        raise SettingsError(f"--log-config {name}: no log4j2 file: its element is <{reader.top}>")
    root = reader.levels.pop("", None)
    levels = LogLevels()
    if root is not None:
        levels = LogLevels(root, root, root, root, root)
    warnings: tuple[str, ...] = ()
    if reader.ignored:
        listed = ", ".join(dict.fromkeys(reader.ignored))
        warnings = (f"--log-config {name}: read for levels only; no effect: {listed} ({_FOLLOWED})",)
    return LogConfig(replace(levels, **reader.levels), warnings=warnings)


class _Log4j:
    """Collects levels and what has no effect while expat walks through a file."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._environ = environ
        self.top = ""
        #: Field of LogLevels to level; "" is Root's.
        self.levels: dict[str, int] = {}
        self.ignored: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._element
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *_: object) -> None:
        raise SettingsError(f"--log-config {self._name}: a document type (<!DOCTYPE>) is not accepted")

    def _element(self, tag: str, attributes: dict[str, str]) -> None:
        kind = tag.lower()
        named = {key.lower(): value for key, value in attributes.items()}
        self.top = self.top or kind
        if kind.removeprefix("async") in ("root", "logger"):
            self._logger(kind, named)
        elif kind not in _ELEMENTS:
            self.ignored.append(tag)
        else:
            for key, value in attributes.items():
                fine = _ELEMENTS[kind].get(key.lower())
                if fine is not None and not fine(value):
                    self.ignored.append(f"{tag} {key}={value}")

    def _logger(self, kind: str, named: dict[str, str]) -> None:
        name = "" if kind.endswith("root") else named.get("name", "")
        if name and name not in LOGGERS:
            if not _JAVA.fullmatch(name):
                self.ignored.append(f"Logger {name}")
            return
        if named.get("additivity", "true").lower() == "false":
            self.ignored.append(f"Logger {name} additivity=false")
        level = _LOOK_UP.sub(self._look_up, named.get("level", "")).strip().lower()
        if level in LEVELS:
            self.levels[LOGGERS[name] if name else ""] = LEVELS[level]
        elif "${" in level:
            self.ignored.append(f"Logger {name or 'Root'} level={named['level']}")
        elif level:
            raise SettingsError(
                f"--log-config {self._name}:{self.parser.CurrentLineNumber}: level {named['level']} "
                f"must be one of {', '.join(LEVELS)}"
            )

    def _look_up(self, match: re.Match[str]) -> str:
        return self._environ.get(match[1], match[2] if match[2] is not None else match[0])
