"""Log configurations: levels out of log4j2's XML, dictionaries out of YAML, and what is not taken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchkeeper.config.log_config import LEVELS, MAX_BYTES, LogConfig, LogLevels, parse_log_config
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.errors import SettingsError

#: The elements of TorchServe's own file.
USUAL = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <RollingFile name="access_log" fileName="${env:LOG_LOCATION:-logs}/access_log.log"
                 filePattern="${env:LOG_LOCATION:-logs}/access_log.%d{dd-MMM}.log.gz">
      <PatternLayout pattern="%d{ISO8601} - %m%n"/>
      <Policies>
        <SizeBasedTriggeringPolicy size="100 MB"/>
        <TimeBasedTriggeringPolicy/>
      </Policies>
      <DefaultRolloverStrategy max="5"/>
    </RollingFile>
    <Console name="STDOUT" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{ISO8601} [%-5p] %t %c - %m%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="ACCESS_LOG" level="info"><AppenderRef ref="access_log"/></Logger>
    <Logger name="io.netty" level="error"/>
    <Logger name="MODEL_LOG" level="all"/>
    <Logger name="MODEL_METRICS" level="all"/>
    <Logger name="org.apache" level="off"/>
    <Logger name="org.pytorch.serve" level="debug"/>
    <Logger name="TS_METRICS" level="all"/>
    <Root level="info"><AppenderRef ref="STDOUT"/></Root>
  </Loggers>
</Configuration>
"""


def parse(text: str, name: str = "log4j2.xml", **environ: str) -> LogConfig:
    return parse_log_config(name, text.encode(), environ)


def loggers(text: str, **environ: str) -> LogConfig:
    return parse(f"<Configuration><Loggers>{text}</Loggers></Configuration>", **environ)


def test_torchserves_own_file_means_what_it_says_and_warns_of_nothing() -> None:
    assert parse(USUAL) == LogConfig(LogLevels(LEVELS["debug"], LEVELS["info"], 0, 0, 0))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("org.pytorch.serve", "server"),
        ("ACCESS_LOG", "access"),
        ("MODEL_LOG", "model"),
        ("MODEL_METRICS", "model_metrics"),
        ("TS_METRICS", "ts_metrics"),
        ("com.amazonaws.ml.mms", "server"),
        ("MMS_METRICS", "ts_metrics"),
    ],
)
def test_each_logger_sets_its_own_level(name: str, field: str, level: str) -> None:
    found = loggers(f'<AsyncLogger name="{name}" level="{level.upper()}"/>').levels
    assert found == LogLevels(**{field: LEVELS[level]})


def test_loggers_without_a_level_have_roots() -> None:
    found = loggers('<Logger name="ACCESS_LOG"/><Logger name="MODEL_LOG" level="all"/><Root level="warn"/>')
    warn = LEVELS["warn"]
    assert found.levels == LogLevels(warn, warn, 0, warn, warn)


def test_what_the_file_leaves_open_stays_as_it_is() -> None:
    assert loggers("").levels == loggers("<Root/>").levels == LogLevels()


def test_levels_may_come_from_the_environment() -> None:
    root = '<Root level="${env:LEVEL:-error}"/>'
    assert loggers(root).levels.server == LEVELS["error"]
    assert loggers(root, LEVEL="Debug").levels.server == LEVELS["debug"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('<Root level="${sys:level}"/>', "Logger Root level=${sys:level}"),
        ('<Logger name="org.pytorch.serve.wlm" level="debug"/>', "Logger org.pytorch.serve.wlm"),
        ('<Logger name="ACCESS_LOG" additivity="false"/>', "Logger ACCESS_LOG additivity=false"),
        ('<RollingFile fileName="/var/a.log"/>', "RollingFile fileName=/var/a.log"),
        ('<PatternLayout pattern="%m%n"/>', "PatternLayout pattern=%m%n"),
        ('<SizeBasedTriggeringPolicy size="1 GB"/>', "SizeBasedTriggeringPolicy size=1 GB"),
        ('<DefaultRolloverStrategy max="9"/>', "DefaultRolloverStrategy max=9"),
        ('<AppenderRef ref="x" level="warn"/>', "AppenderRef level=warn"),
        ("<JsonLayout/><JsonLayout/>", "no effect: JsonLayout ("),
    ],
)
def test_one_warning_names_what_has_no_effect(text: str, named: str) -> None:
    (warning,) = loggers(text).warnings
    assert warning.startswith("--log-config log4j2.xml: read for levels only; no effect: ")
    assert named in warning


BOMB = '<!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><Configuration>&b;</Configuration>'
OUTSIDE = '<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><Configuration>&a;</Configuration>'


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.xml", BOMB, "a document type (<!DOCTYPE>) is not accepted"),
        ("a.xml", OUTSIDE, "a document type (<!DOCTYPE>) is not accepted"),
        ("a.xml", '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><Configuration/>', "is not accepted"),
        ("a.xml", "<Configuration>", "not XML: no element found"),
        ("a.xml", "hello", "not XML: syntax error: line 1"),
        ("a.xml", "<beans/>", "its element is <beans>"),
        (
            "a.xml",
            '<Configuration>\n<Root level="loud"/></Configuration>',
            "a.xml:2: level loud must be one of",
        ),
        ("a.xml", " " * MAX_BYTES + "<a/>", "larger than 1048576 bytes"),
        ("a.yaml", "a: [", "not YAML: while parsing"),
        ("a.yml", "- 1", "neither log4j2 XML nor a dictConfig with `version: 1`"),
        ("a.yaml", "version: 2", "neither log4j2 XML nor a dictConfig"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "not YAML: could not determine a constructor"),
    ],
)
def test_what_cannot_be_taken_is_said_in_one_line(name: str, text: str, why: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse(text, name)
    assert raised.value.message.startswith(f"--log-config {name}")
    assert why in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "Configuration:\n  status: warn\n"),
        ("a.json", '{"configuration": {}}'),
        ("a.properties", "a=b"),
    ],
)
def test_log4j2s_other_forms_are_a_warning(name: str, text: str) -> None:
    found = parse(text, name)
    assert found.levels == LogLevels()
    assert "not read, only" in found.warnings[0]


def test_a_dictionary_for_python_is_handed_on_and_never_switches_the_server_off() -> None:
    assert parse("version: 1\n", "a.yaml").python == {"version": 1, "disable_existing_loggers": False}


# --- with the other settings -----------------------------------------------------------------------------


def settings_of(folder: Path, text: str = "", **flags: object) -> Settings:
    (folder / "config.properties").write_text(text)
    (folder / "log4j2.xml").write_text('<Configuration><Root level="error"/></Configuration>')
    settings, _ = load_settings(CommandLine(**flags), {}, folder)  # type: ignore[arg-type]  # flags by name
    return settings


def test_a_level_that_is_set_beats_the_file_of_levels(tmp_path: Path) -> None:
    file = Path("log4j2.xml")
    assert settings_of(tmp_path).log_levels == LogLevels()
    assert settings_of(tmp_path, log_config=file).log_levels.server == LEVELS["error"]
    for settings in (
        settings_of(tmp_path, log_config=file, log_level="debug"),
        settings_of(tmp_path, "log_level=DEBUG\n", log_config=file),
    ):
        assert settings.log_levels.server == LEVELS["debug"]
        assert settings.log_levels.access == LEVELS["error"]


def torchserve(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torchkeeper.cli", "--foreground", "--model-store", ".", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "TMPDIR": str(folder)},
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version: 1\nhandlers: {a: {class: nothing.Of}}\n", "Unable to configure handler 'a'"),
        ("version: 1\nloggers: {torchkeeper: {handlers: [b]}}\n", "Unable to configure logger 'torchkeeper'"),
        ("version: 3\n", "neither log4j2 XML nor"),
    ],
)
def test_a_configuration_that_python_refuses_ends_the_start(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "log.yaml").write_text(text)
    done = torchserve(tmp_path, "--log-config", "log.yaml")
    assert done.returncode == 1
    assert done.stdout.startswith("Invalid configuration: --log-config")
    assert why in done.stdout
    assert done.stderr == ""


def test_an_unknown_level_is_argparses_error(tmp_path: Path) -> None:
    done = torchserve(tmp_path, "--log-level", "loud")
    assert done.returncode == 2
    assert "argument --log-level: invalid choice: 'loud'" in done.stderr
