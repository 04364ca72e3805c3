"""Log lines as JSON, levels, what a full queue does, and dictConfig's handlers."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.logs.lines import worker_model
from torchkeeper.logs.logs import Logs
from torchkeeper.wire.messages import Sample

SAMPLE = Sample("PredictionTime", 0.05, "ms", "gauge", (("ModelName", "mnist"), ("Level", "Model")), "the-id")


def settings_for(folder: Path, text: str = "log_format=json\n", **flags: object) -> Settings:
    (folder / "config.properties").write_text(text)
    settings, _ = load_settings(CommandLine(**flags), {}, folder)  # type: ignore[arg-type]  # flags by name
    return settings


def levels_for(folder: Path, loggers: str) -> Settings:
    (folder / "log4j2.xml").write_text(f"<Configuration><Loggers>{loggers}</Loggers></Configuration>")
    return settings_for(folder, "", log_config=Path("log4j2.xml"))


def lines(folder: Path, name: str) -> list[Any]:
    """The lines of a log file, without their times, after a check of these."""
    found = [json.loads(line) for line in (folder / "logs" / name).read_text().splitlines()]
    for line in found:
        moment = datetime.fromisoformat(line.pop("time"))
        assert moment.tzinfo is not None
        assert abs(datetime.now(moment.tzinfo) - moment).total_seconds() < 600
    return found


def test_access_lines_carry_request_id_and_model(tmp_path: Path) -> None:
    with Logs(settings_for(tmp_path)) as logs:
        logs.access("127.0.0.1:4", b"PUT", b"/predictions/mnist/1.0?a=b", "1.1", 200, 44.2, b"the-id")
        logs.access("127.0.0.1", b"GET", b"/ping", "1.0", 503, 0.1234)
    assert lines(tmp_path, "access_log.log") == [
        {
            "level": "INFO",
            "logger": "ACCESS_LOG",
            "message": '"PUT /predictions/mnist/1.0?a=b HTTP/1.1" 200 44',
            "request_id": "the-id",
            "model": "mnist",
            "client": "127.0.0.1:4",
            "method": "PUT",
            "path": "/predictions/mnist/1.0?a=b",
            "status": 200,
            "ms": 44.2,
        },
        {
            "level": "INFO",
            "logger": "ACCESS_LOG",
            "message": '"GET /ping HTTP/1.0" 503 0',
            "client": "127.0.0.1",
            "method": "GET",
            "path": "/ping",
            "status": 503,
            "ms": 0.123,
        },
    ]


def test_the_servers_lines_carry_what_their_record_knows(tmp_path: Path) -> None:
    logger = logging.getLogger("torchkeeper.somewhere")
    with Logs(settings_for(tmp_path)):
        logger.warning(
            "lost %s", "it", extra={"request_id": "the-id", "worker": "W-9000-m_1.0", "model": "m"}
        )
        logger.info('a "quoted"\nline')
    first, second = lines(tmp_path, "ts_log.log")
    assert first == {
        "level": "WARN",
        "logger": "torchkeeper.somewhere",
        "message": "lost it",
        "thread": "MainThread",
        "request_id": "the-id",
        "worker": "W-9000-m_1.0",
        "model": "m",
    }
    assert second["message"] == 'a "quoted"\nline'


def test_lines_and_numbers_of_models(tmp_path: Path) -> None:
    with Logs(settings_for(tmp_path)) as logs:
        logs.model_line("W-9000-m_n_1.0", "stderr", "hällo")
        logs.model_metric(SAMPLE, "host")
        logs.ts_metric(
            Sample("CPUUtilization", float("nan"), "percent", "gauge", (("Level", "Host"),)), "host"
        )
    assert lines(tmp_path, "model_log.log") == [
        {
            "level": "WARN",
            "logger": "MODEL_LOG",
            "message": "hällo",
            "model": "m_n",
            "worker": "W-9000-m_n_1.0",
            "stream": "stderr",
        }
    ]
    (number,) = lines(tmp_path, "model_metrics.log")
    assert re.fullmatch(
        r"PredictionTime\.ms:0\.05\|#ModelName:mnist,Level:Model\|#hostname:host,requestID:the-id,"
        r"timestamp:\d{10}",
        number.pop("message"),
    )
    assert number == {
        "level": "INFO",
        "logger": "MODEL_METRICS",
        "request_id": "the-id",
        "model": "mnist",
        "name": "PredictionTime",
        "value": 0.05,
        "unit": "ms",
        "type": "gauge",
        "dimensions": {"ModelName": "mnist", "Level": "Model"},
        "hostname": "host",
    }
    (broken,) = lines(tmp_path, "ts_metrics.log")
    assert (broken["name"], broken["value"]) == ("CPUUtilization", None), "JSON has no NaN"


@pytest.mark.parametrize(
    ("worker", "model"), [("W-9000-m_1.0", "m"), ("W-1-a_b_2", "a_b"), ("W-9000-m", ""), ("template", "")]
)
def test_a_workers_name_names_its_model(worker: str, model: str) -> None:
    assert worker_model(worker) == model


def test_ts_metrics_have_torchserves_form(tmp_path: Path) -> None:
    with Logs(settings_for(tmp_path, "")) as logs:
        logs.ts_metric(Sample("CPUUtilization", 0.0, "Percent", "gauge", (("Level", "Host"),)), "h")
    line = (tmp_path / "logs" / "ts_metrics.log").read_text()
    assert re.fullmatch(
        r"\S+ - CPUUtilization\.Percent:0\.0\|#Level:Host\|#hostname:h,timestamp:\d{10}\n", line
    )


# --- levels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warn", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_of_the_servers_lines(tmp_path: Path, level: str, said: list[str]) -> None:
    logger = logging.getLogger("torchkeeper.somewhere")
    with Logs(settings_for(tmp_path, log_level=level)) as logs:
        logs.say("always said")
        for word in ("debug", "info", "warning", "error"):
            getattr(logger, word)(word)
    assert [line["message"] for line in lines(tmp_path, "ts_log.log")] == ["always said", *said]


def test_what_a_model_prints_has_two_levels(tmp_path: Path) -> None:
    for level in ("info", "warn", "error"):
        with Logs(levels_for(tmp_path, f'<Logger name="MODEL_LOG" level="{level}"/>')) as logs:
            logs.model_line(level, "stdout", "out")
            logs.model_line(level, "stderr", "err")
    found = re.findall(r"(\w+)-(\w+) MODEL_LOG", (tmp_path / "logs" / "model_log.log").read_text())
    assert found == [("info", "stdout"), ("info", "stderr"), ("warn", "stderr")]


@pytest.mark.parametrize("level", ["warn", "off"])
def test_files_can_be_switched_off(tmp_path: Path, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Logs(levels_for(tmp_path, f'<Root level="{level}"/>')) as logs:
        assert not logs.writes_access
        logs.model_metric(SAMPLE, "h")
        logs.ts_metric(SAMPLE, "h")
        logs.model_line("W", "stdout", "text")
    assert not any(path.stat().st_size for path in (tmp_path / "logs").iterdir())
    assert capsys.readouterr().out == ""


# --- more lines than can be written ------------------------------------------------------------------------

FLOOD = """
import sys
from pathlib import Path
from torchkeeper.logs.logs import Logs
from torchkeeper.config.settings import CommandLine, load_settings

settings, _ = load_settings(CommandLine(), {}, Path(sys.argv[1]))
with Logs(settings, max_waiting=1000) as logs:
    for number in range(40_000):
        logs.access("client", b"GET", b"/" + b"x" * 200, "1.1", 200, 1.0)
        logs.model_line("W", "stdout", "y" * 200)
    print("flooded", file=sys.stderr, flush=True)
"""


def test_lines_that_nobody_takes_are_counted_and_the_flood_is_bounded(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FLOOD, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "flooded\n", "logging never waits for stdout"
        said = process.stdout.read().splitlines()
    assert process.returncode == 0
    left_out = [
        int(match[1]) for line in said if (match := re.search(r" - (\d+) log lines were left out", line))
    ]
    assert left_out
    assert len(said) - len(left_out) + sum(left_out) == 80_000
    assert len(said) < 40_000


# --- a configuration for Python ----------------------------------------------------------------------------

CONFIGURED = """
import logging, sys
from pathlib import Path
from torchkeeper.logs.logs import Logs, configure_python_logging
from torchkeeper.config.settings import CommandLine, load_settings

settings, _ = load_settings(CommandLine(log_config=Path("log.yaml")), {}, Path.cwd())
configure_python_logging(settings.log_dict)
with Logs(settings):
    logging.getLogger("torchkeeper.a").warning("one")
    logging.getLogger("torchkeeper.a").info("two")
    logging.getLogger("torchkeeper.b").info("three")
"""


def test_handlers_of_a_dictionary_get_the_servers_lines_as_well(tmp_path: Path) -> None:
    (tmp_path / "log.yaml").write_text(
        "version: 1\n"
        "formatters: {short: {format: '%(levelname)s %(message)s'}}\n"
        "handlers: {mine: {class: logging.FileHandler, filename: mine.log, formatter: short}}\n"
        "root: {handlers: [mine]}\n"
        "loggers: {torchkeeper.a: {level: WARNING}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    assert (tmp_path / "mine.log").read_text() == "WARNING one\nINFO three\n"
    written = (tmp_path / "logs" / "ts_log.log").read_text()
    assert re.findall(r" - (.*)", written) == ["one", "three"]
    assert done.stdout == written
