"""Settings: where each value comes from, who wins, and how a bad one is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from torchkeeper.errors import SettingsError
from torchkeeper.setting_table import KEYS
from torchkeeper.settings import CommandLine, Settings, load_settings, startup_models


def load(folder: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Settings:
    (folder / "config.properties").write_text(text)
    settings, _ = load_settings(CommandLine(**flags), environ or {}, folder)  # type: ignore[arg-type]  # flags by name
    return settings


def test_defaults_are_torchserves(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert str(settings.inference_address) == "http://127.0.0.1:8080"
    assert settings.job_queue_size == 100
    assert settings.max_request_size == 6553500
    assert settings.default_response_timeout == 120
    assert settings.number_of_gpu is None
    assert str(settings.origins["job_queue_size"]) == "default"


def test_environment_beats_command_line_beats_file(tmp_path: Path) -> None:
    text = "load_models=file.mar\njob_queue_size=7\nenable_envvars_config=true\n"
    environ = {"TS_JOB_QUEUE_SIZE": "9"}
    settings = load(tmp_path, text, environ, models=("flag.mar",))
    assert settings.load_models == ("flag.mar",)
    assert settings.job_queue_size == 9
    assert str(settings.origins["load_models"]) == "command line --models"
    assert str(settings.origins["job_queue_size"]) == "environment TS_JOB_QUEUE_SIZE"
    without = load(tmp_path, "job_queue_size=7\n", environ)
    assert without.job_queue_size == 7
    assert without.origins["job_queue_size"].line == 1


def test_syntax(tmp_path: Path) -> None:
    text = (
        "# comment\n! also\ninference_address = http\\://0.0.0.0\\:81\nload_models=a.mar,\\\n   b.mar\n"
        "service_envelope=$$E$$\n"
    )
    settings = load(tmp_path, text, {"E": "json"})
    assert (settings.inference_address.host, settings.inference_address.port) == ("0.0.0.0", 81)
    assert settings.load_models == ("a.mar", "b.mar")
    assert settings.service_envelope == "json"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("inference_address=http://127.0.0.1:99999", "port 99999 is not from 0 to 65535"),
        ("inference_address=foo", "must be http://host:port"),
        ("job_queue_size=banana", "must be a whole number"),
        ("default_workers_per_model=-1", "must be at least 0"),
        ("blacklist_env_vars=(", "is not a regular expression"),
        ("decode_input_request=maybe", "must be true or false"),
        ("models={", "is not JSON"),
        ("service_envelope=$$UNSET$$", "Invalid Environment Variable UNSET"),
    ],
)
def test_a_bad_value_names_key_value_file_and_line(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, f"# first\n{line}\n")
    message = raised.value.message
    assert message.startswith(f"{line} ({tmp_path / 'config.properties'}:2): ")
    assert why in message
    assert "\n" not in message


def test_the_metrics_mode_in_any_case(tmp_path: Path) -> None:
    assert load(tmp_path, "metrics_mode= Prometheus\n").metrics_mode == "prometheus"
    with pytest.raises(SettingsError, match="must be one of log, prometheus, legacy"):
        load(tmp_path, "metrics_mode=file\n")


def test_an_unknown_key_is_told_its_nearest(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("job_que_size=5\ncpu_launcher_enable=true\n")
    _, warnings = load_settings(CommandLine(), {}, tmp_path)
    assert "did you mean job_queue_size?" in warnings[0]
    assert "torchkeeper does not have the Intel extension yet" in warnings[1]


def test_start_up_models(tmp_path: Path) -> None:
    for name in ("a.mar", "b.tar.gz", "c.txt", ".hidden.mar"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    every = load(tmp_path, f"model_store={tmp_path}\nload_models=ALL\n")
    assert startup_models(every) == [(None, "a.mar"), (None, "b.tar.gz"), (None, "folder")]
    named = load(tmp_path, models=("x=a.mar,b.tar.gz", ""))
    assert startup_models(named) == [("x", "a.mar"), (None, "b.tar.gz")]
    pinned = load(tmp_path, models=("a.mar#sha256=00", "x=a.mar#sha256=00", "https://h/a.mar?key=1"))
    assert startup_models(pinned) == [
        *((None, "a.mar#sha256=00"), ("x", "a.mar#sha256=00"), (None, "https://h/a.mar?key=1"))
    ]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchkeeper.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--version"], "TorchServe Version is 0.12.0", 0),
        (["--start"], "Missing mandatory parameter --model-store", 1),
        (["--start", "--model-store", "nope"], "--model-store directory not found: nope", 1),
        (["--start", "--ts-config", "nope"], "--ts-config file not found: nope", 1),
    ],
)
def test_what_torchserve_says(tmp_path: Path, arguments: list[str], said: str, code: int) -> None:
    done = run(tmp_path, *arguments)
    assert (done.stdout.strip(), done.returncode) == (said, code)


def test_start_and_stop_exclude_each_other(tmp_path: Path) -> None:
    done = run(tmp_path, "--start", "--stop")
    assert done.returncode == 2
    assert "not allowed with argument" in done.stderr


def test_a_bad_value_is_answered_before_anything_loads(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("job_queue_size=banana\n")
    probe = (
        "import sys; from torchkeeper.cli import torchserve; code = torchserve(['--model-store', '.']);"
        "print(code, [name for name in ('torch', 'uvicorn', 'torchkeeper.server') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    first, last = done.stdout.strip().splitlines()
    assert first.startswith("Invalid configuration: job_queue_size=banana (")
    assert last == "1 []"


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    assert not [key.name for key in KEYS if f"`{key.name}`" not in page]
