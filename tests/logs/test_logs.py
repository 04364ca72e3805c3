"""The logs: TorchServe's lines in TorchServe's files, in order, rolled over, and never in the way."""

from __future__ import annotations

import gzip
import logging
import os
import re
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from servers import eventually
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.logs.logs import Logs, timestamp
from torchkeeper.wire.messages import Sample

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}"
PREDICTION_TIME = Sample(
    "PredictionTime", 0.05, "ms", "gauge", (("ModelName", "m"), ("Level", "Model")), "the-id"
)


def settings_for(folder: Path, **environ: str) -> Settings:
    settings, _ = load_settings(CommandLine(), environ, folder)
    return settings


def lines_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


# --- lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("milliseconds", [0, 1, 458, 999])
def test_times_are_local_with_milliseconds_after_a_comma(milliseconds: int) -> None:
    moment = datetime(2026, 11, 23, 3, 40, 26).timestamp() + milliseconds / 1000 + 0.0005
    assert timestamp(moment) == f"2026-11-23T03:40:26,{milliseconds:03}"


def test_access_lines(tmp_path: Path) -> None:
    with Logs(settings_for(tmp_path)) as logs:
        logs.access("127.0.0.1:45922", b"PUT", b"/predictions/mnist", "1.1", 200, 4421.4)
        logs.access("127.0.0.1", b"GET", b"/a?b=%20\xe4", "1.0", 503, 0.6)
    first, second = lines_of(tmp_path / "logs" / "access_log.log")
    assert re.fullmatch(rf'{TIME} - /127\.0\.0\.1:45922 "PUT /predictions/mnist HTTP/1\.1" 200 4421', first)
    assert re.fullmatch(rf'{TIME} - /127\.0\.0\.1 "GET /a\?b=%20ä HTTP/1\.0" 503 1', second)


def test_the_servers_own_lines(tmp_path: Path) -> None:
    logger = logging.getLogger("torchkeeper.models.registry")
    with Logs(settings_for(tmp_path)):
        logger.debug("nobody asked")
        logger.info("%d workers", 2)
        logger.warning("careful")
        logger.error("bad")
        logger.critical("worse")
        thread = threading.Thread(target=logger.info, args=("from elsewhere",), name="other")
        thread.start()
        thread.join()
        try:
            raise ValueError("the reason")
        except ValueError:
            logger.exception("it failed")
    logger.error("after the end")
    lines = lines_of(tmp_path / "logs" / "ts_log.log")
    name = re.escape("torchkeeper.models.registry")
    expected = [
        rf"{TIME} \[INFO \] MainThread {name} - 2 workers",
        rf"{TIME} \[WARN \] MainThread {name} - careful",
        rf"{TIME} \[ERROR\] MainThread {name} - bad",
        rf"{TIME} \[FATAL\] MainThread {name} - worse",
        rf"{TIME} \[INFO \] other {name} - from elsewhere",
        rf"{TIME} \[ERROR\] MainThread {name} - it failed",
        r"Traceback \(most recent call last\):",
    ]
    for line, pattern in zip(lines, expected, strict=False):
        assert re.fullmatch(pattern, line)
    assert lines[-1] == "ValueError: the reason"


def test_lines_of_models(tmp_path: Path) -> None:
    with Logs(settings_for(tmp_path)) as logs:
        logs.model_line("W-9000-m_1.0", "stdout", "hällo")
        logs.model_line("W-9000-m_1.0", "stderr", "")
    out, err = lines_of(tmp_path / "logs" / "model_log.log")
    assert re.fullmatch(rf"{TIME} \[INFO \] W-9000-m_1\.0-stdout MODEL_LOG - hällo", out)
    assert re.fullmatch(rf"{TIME} \[WARN \] W-9000-m_1\.0-stderr MODEL_LOG - ", err)


def test_lines_of_model_metrics(tmp_path: Path) -> None:
    with Logs(settings_for(tmp_path)) as logs:
        logs.model_metric(PREDICTION_TIME, "h")
        logs.model_metric(Sample("Odd", 2e7, "parrots", "counter", ()), "h")
    with_id, without = lines_of(tmp_path / "logs" / "model_metrics.log")
    head = rf"{TIME} - PredictionTime\.ms:0\.05"
    labels = r"\|#ModelName:m,Level:Model"
    assert re.fullmatch(rf"{head}{labels}\|#hostname:h,requestID:the-id,timestamp:\d{{10}}", with_id)
    assert re.fullmatch(rf"{TIME} - Odd\.parrots:2\.0E7\|#\|#hostname:h,timestamp:\d{{10}}", without)


# --- files -----------------------------------------------------------------------------------------------


def test_files_lie_where_the_environment_says_and_are_there_before_their_first_line(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, LOG_LOCATION="deep/down", METRICS_LOCATION=str(tmp_path / "numbers"))
    with Logs(settings):
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.log")}
    logs = {f"deep/down/{name}.log" for name in ("access_log", "ts_log", "model_log")}
    assert files == logs | {"numbers/model_metrics.log", "numbers/ts_metrics.log"}


def test_logs_are_continued_not_begun_anew(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with Logs(settings_for(tmp_path)) as logs:
            logs.model_line("W", "stdout", text)
    assert [line[-3:] for line in lines_of(tmp_path / "logs" / "model_log.log")] == ["one", "two"]


def test_a_folder_that_takes_no_files_leaves_the_console_and_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").touch()
    with Logs(settings_for(tmp_path, METRICS_LOCATION="metrics")) as logs:
        logs.access("127.0.0.1", b"GET", b"/ping", "1.1", 200, 1.0)
        logs.ts_metric(PREDICTION_TIME, "here")
    shown = capfd.readouterr()
    assert shown.out.count("GET /ping") == 1
    (warning,) = [line for line in shown.out.splitlines() if "WARN" in line]
    assert f"No log files in {tmp_path / 'logs'}, the lines go to the console only" in warning
    assert not shown.err
    assert "PredictionTime" in (tmp_path / "metrics" / "ts_metrics.log").read_text()


def test_a_flush_returns_when_all_before_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "model_log.log"
    with Logs(settings_for(tmp_path)) as logs:
        logs.flush()
        assert path.read_text() == ""
        for count in range(1, 20):
            logs.model_line("W", "stdout", f"line {count}")
            logs.flush()
            assert len(lines_of(path)) == count


def test_a_line_after_quiet_is_written_at_once_and_those_after_it_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchkeeper.logs.logs._PER_SECOND", 0.001)
    path = tmp_path / "logs" / "model_log.log"
    with Logs(settings_for(tmp_path)) as logs:
        logs.model_line("W", "stdout", "one")
        eventually(lambda: path.read_text().endswith("one\n"))
        logs.model_line("W", "stdout", "two")
        logs.model_line("W", "stdout", "three")
        assert path.read_text().endswith("one\n")
        logs.flush()
        assert path.read_text().endswith("three\n")


def test_lines_keep_their_order_and_each_thread_its_own(tmp_path: Path) -> None:
    count = 2000
    with Logs(settings_for(tmp_path)) as logs:

        def talk(worker: str) -> None:
            for number in range(count):
                logs.model_line(worker, "stdout", str(number))

        threads = [threading.Thread(target=talk, args=(f"W{place}",)) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said: dict[str, list[int]] = {}
    for line in lines_of(tmp_path / "logs" / "model_log.log"):
        match = re.fullmatch(rf"{TIME} \[INFO \] (W\d)-stdout MODEL_LOG - (\d+)", line)
        assert match is not None, line
        said.setdefault(match[1], []).append(int(match[2]))
    assert said == {f"W{place}": list(range(count)) for place in range(4)}


def test_full_files_are_rolled_over_compressed_and_the_oldest_go(tmp_path: Path) -> None:
    with Logs(settings_for(tmp_path), max_bytes=100) as logs:
        for number in range(8):
            logs.model_line("W", "stdout", f"line {number} " + "x" * 60)
            logs.flush()
    folder = tmp_path / "logs"
    assert {path.name for path in folder.glob("model_log*")} == {
        "model_log.log",
        *(f"model_log.log.{age}.gz" for age in range(1, 6)),
    }
    texts = [(folder / "model_log.log").read_text()]
    texts += [
        gzip.decompress((folder / f"model_log.log.{age}.gz").read_bytes()).decode() for age in range(1, 6)
    ]
    found = [re.findall(r"line (\d)", text) for text in texts]
    assert found == [["7"], ["6"], ["5"], ["4"], ["3"], ["2"]], "the newest first, none torn"


# --- never in the way ------------------------------------------------------------------------------------


def test_all_lines_also_go_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Logs(settings_for(tmp_path)) as logs:
        logs.model_line("W", "stdout", "from a model")
        logs.access("127.0.0.1:1", b"GET", b"/ping", "1.1", 200, 1.0)
        logs.model_metric(PREDICTION_TIME, "h")
        logging.getLogger("torchkeeper").info("from the server")
    shown = capsys.readouterr().out.removesuffix("\n").split("\n")
    written = [line for path in (tmp_path / "logs").iterdir() for line in path.read_text().splitlines()]
    assert sorted(shown) == sorted(written)
    assert len(shown) == 4


def test_a_text_that_is_no_unicode_costs_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Logs(settings_for(tmp_path)):
        logger = logging.getLogger("torchkeeper")
        logger.info("before")
        logger.info("a file called %s", os.fsdecode(b"\xff.mar"))
        logger.info("after")
    texts = [line.partition(" - ")[2] for line in lines_of(tmp_path / "logs" / "ts_log.log")]
    assert texts == ["before", "a file called \\udcff.mar", "after"]
    assert re.findall(r" - (.*)", capsys.readouterr().out) == texts


LISTENERLESS = """
import sys
from pathlib import Path
from torchkeeper.logs.logs import Logs
from torchkeeper.config.settings import CommandLine, load_settings

settings, _ = load_settings(CommandLine(), {}, Path(sys.argv[1]))
if sys.argv[2] == "closed":
    sys.stdout.close()
with Logs(settings) as logs:
    for number in range(3):
        logs.model_line("W", "stdout", str(number))
        logs.flush()
"""


@pytest.mark.parametrize("stdout", ["closed", "left by its reader"])
def test_files_are_written_when_nobody_takes_stdout(tmp_path: Path, stdout: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = subprocess.run(
            [sys.executable, "-c", LISTENERLESS, tmp_path, stdout],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert len(lines_of(tmp_path / "logs" / "model_log.log")) == 3
    assert (process.returncode, process.stderr) == (0, b"")


SILENT = """
import sys
from pathlib import Path

from torchkeeper.logs.logs import Logs
from torchkeeper.config.settings import CommandLine, load_settings

folder = Path(sys.argv[1])
settings, _ = load_settings(CommandLine(), {}, folder)
with Logs(settings) as logs:
    for number in range(5000):
        logs.model_line("W", "stdout", f"{number} " + "x" * 100)
"""


def test_a_reader_that_does_not_read_stops_neither_the_files_nor_the_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        done = subprocess.run([sys.executable, "-c", SILENT, tmp_path], stdout=writing, timeout=30)
    finally:
        os.close(writing)
        os.close(reading)
    assert done.returncode == 0
    lines = (tmp_path / "logs" / "model_log.log").read_text().splitlines()
    assert len(lines) == 5000


FULL = r"torchkeeper\.logs\.logs - log lines cannot be written to (.*): No space left on device; "


def test_a_full_disk_is_told_of_once_and_each_line_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for name in ("access_log", "model_log"):
        (folder / f"{name}.log").symlink_to("/dev/full")
    with Logs(settings_for(tmp_path)) as logs:
        for _ in range(5):
            logs.model_line("W", "stdout", "lost")
            logs.access("127.0.0.1:1", b"GET", b"/ping", "1.1", 200, 1.0)
            logs.flush()
        assert logs.lost == {"queue": 0, "disk": 10, "stdout": 0}
        (folder / "access_log.log").unlink()
        (folder / "model_log.log").unlink()
        logs.access("127.0.0.1:1", b"GET", b"/ping", "1.1", 200, 1.0)
        logs.model_line("W", "stdout", "kept")
    assert lines_of(folder / "model_log.log")[0].endswith("kept")
    first, again, last = lines_of(folder / "ts_log.log")
    assert re.search(FULL, first)
    assert again.endswith(f"10 were lost; not yet to {folder / 'model_log.log'}")
    assert last.endswith(f"written again to {folder / 'model_log.log'}")
    assert len(re.findall(FULL, capsys.readouterr().out)) == 1


def test_a_full_stdout_is_told_of_in_the_files(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", LISTENERLESS, tmp_path, "full"], stdout=full, timeout=60)
    assert done.returncode == 0
    assert len(lines_of(tmp_path / "logs" / "model_log.log")) == 3
    (said,) = lines_of(tmp_path / "logs" / "ts_log.log")
    assert "cannot be written to stdout: No space left on device" in said
