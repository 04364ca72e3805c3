"""The commands: flags, what is said before anything starts, and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from torchkeeper.cli import checked_settings, multi_model_server, torchkeeper, torchserve, torchserve_parser
from torchkeeper.config.table import KEYS
from torchkeeper.errors import LaunchRefused, SettingsError


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchkeeper.cli", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
    )


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
        "print(code, [name for name in ('torch', 'uvloop', 'torchkeeper.server') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    first, last = done.stdout.strip().splitlines()
    assert first.startswith("Invalid configuration: job_queue_size=banana (")
    assert last == "1 []"


@pytest.mark.parametrize(
    ("flags", "text", "said"),
    [
        ((), "workflow_store=/nowhere\n", "workflow_store (file {}:2) has no effect: "),
        (("--workflow-store", "nope"), "", "workflow_store (command line --workflow-store) has no effect: "),
        (("--cpp-log-config", "nope"), "", "cpp_log_config (command line --cpp-log-config) has no effect: "),
        (("--plugins-path", "nope"), "", "plugins_path (command line --plugins-path) has no effect: "),
        (("--ppath", "nope"), "plugins_path=other\n", "plugins_path (command line --plugins-path) has no "),
        ((), "initial_distribution_port=many\n", "initial_distribution_port=many ({}:2): "),
        ((), "number_of_netty_threads=-1\n", "number_of_netty_threads=-1 ({}:2): must be at least 0; "),
    ],
)
def test_a_setting_without_effect_never_ends_the_start_and_is_said_once(
    tmp_path: Path, flags: tuple[str, ...], text: str, said: str
) -> None:
    path = tmp_path / "config.properties"
    path.write_text(f"model_store=.\n{text}")
    _, warnings = checked_settings(torchserve_parser().parse_args(["--ncs", *flags]), {}, tmp_path)
    assert [one for one in warnings if one.startswith(said.format(path))]
    assert len([one for one in warnings if "has no effect: " in one]) == 1


def test_the_command_that_prints_settings_shows_what_is_said_of_models_and_where(tmp_path: Path) -> None:
    models = '{"m": {"1.0": {"batchSize": "4"}}}'
    kept = '{"models": {"k": {"2": {"marName": "k.mar", "minWorkers": 3}}}}'
    (tmp_path / "c.properties").write_text(f"models={models}\nmodel_snapshot={kept}\njob_queue_size=7\n")
    command = [sys.executable, "-c", "from torchkeeper.cli import torchkeeper; torchkeeper()", "config"]
    done = subprocess.run(
        [*command, "--ts-config", "c.properties", "--show-origin"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    path = tmp_path / "c.properties"
    lines = done.stdout.splitlines()
    assert f"job_queue_size=7\tfile {path}:3" in lines
    assert f"models={models}\tfile {path}:1" in lines
    assert lines[-2:] == [
        f"models/m/1.0/batchSize=4\tfile {path}:1",
        f"model_snapshot/k/2/minWorkers=3\tfile {path}:2",
    ]


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = "") -> None:
    """A command that is called in this process finds itself there, with no settings but these."""
    (folder / "config.properties").write_text(text)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TS_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--models", "a.mar", "x=b.mar"], {"models": ["a.mar", "x=b.mar"]}),
        (["--ncs"], {"no_config_snapshots": True}),
        (["--no-config-snapshots"], {"no_config_snapshots": True}),
        (["--dt"], {"disable_token_auth": True}),
        (["--disable-token-auth"], {"disable_token_auth": True}),
        (["--enable-model-api"], {"enable_model_api": True}),
        (["--ppath", "/p"], {"plugins_path": "/p"}),
        (["--plugins-path", "/p"], {"plugins_path": "/p"}),
        (["--log-level", "WARN"], {"log_level": "warn"}),
        (["--model-store", "/s"], {"model_store": Path("/s")}),
        (["--workflow-store", "w"], {"workflow_store": Path("w")}),
        (["--stop", "--foreground"], {"stop": True, "foreground": True}),
        (["-v"], {"version": True}),
    ],
)
def test_flags(arguments: list[str], expected: dict[str, object]) -> None:
    plain = vars(torchserve_parser().parse_args([]))
    assert vars(torchserve_parser().parse_args(arguments)) == plain | expected


@pytest.mark.parametrize(
    "arguments", [["--models"], ["--log-level", "loud"], ["--nothing-such"], ["--start", "--stop"]]
)
def test_flags_that_are_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        torchserve(arguments)
    assert left.value.code == 2
    assert "usage: torchserve" in capsys.readouterr().err


def test_a_log_configuration_must_be_there(tmp_path: Path) -> None:
    arguments = torchserve_parser().parse_args(["--log-config", str(tmp_path / "nope")])
    with pytest.raises(LaunchRefused, match=f"--log-config file not found: {tmp_path / 'nope'}"):
        checked_settings(arguments, {}, tmp_path)


def test_flags_become_settings(tmp_path: Path) -> None:
    arguments = ["--model-store", str(tmp_path), "--models", "a.mar", "--dt", "--enable-model-api", "--ncs"]
    settings, warnings = checked_settings(torchserve_parser().parse_args(arguments), {}, tmp_path)
    assert (settings.model_store, settings.load_models) == (tmp_path, ("a.mar",))
    assert settings.disable_token_authorization
    assert settings.enable_model_api
    assert not settings.config_snapshots
    assert str(settings.origins["load_models"]) == "command line --models"
    assert warnings == ()


def test_the_archive_of_a_snapshot_must_be_there(tmp_path: Path) -> None:
    kept = '{"models": {"m": {"1.0": {"marName": "gone.mar"}}}}'
    (tmp_path / "config.properties").write_text(f"model_store={tmp_path}\nmodel_snapshot={kept}\n")
    with pytest.raises(SettingsError, match=r"no gone\.mar in "):
        checked_settings(torchserve_parser().parse_args(["--ncs"]), {}, tmp_path)


def test_the_settings_that_would_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_folder(tmp_path, monkeypatch, "job_queue_size=7\nkeystore_pass=secret\nenable_model_api=yes\n")
    assert torchkeeper(["config"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.partition("=")[0] for line in lines] == [key.name for key in KEYS]
    assert {"job_queue_size=7", "keystore_pass=***", "model_store=", "management_key="} <= set(lines)
    assert said.err.startswith("warning: enable_model_api=yes (")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("job_queue_size=ten\n", "job_queue_size=ten ({}:1): must be a whole number"),
        ("model_store=~nobody-of-that-name\n", "model_store=~nobody-of-that-name ({}:1): names the home"),
    ],
)
def test_a_bad_setting_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    in_folder(tmp_path, monkeypatch, text)
    assert torchkeeper(["config"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"Invalid configuration: {why.format(tmp_path / 'config.properties')}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(("text", "code"), [("job_queue_size=7\n", 0), ("job_queue_size=ten\n", 1)])
def test_the_doctors_exit_code_says_whether_something_would_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    in_folder(tmp_path, monkeypatch, text)
    (tmp_path / "store").mkdir()
    assert torchkeeper(["doctor", "--ts-config", "config.properties", "--model-store", "store"]) == code
    assert "job_queue_size" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nothing-such"], ["manifest"], ["config", "--nothing-such"]])
def test_verbs_that_are_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        torchkeeper(arguments)
    assert left.value.code == 2
    assert "usage: torchkeeper" in capsys.readouterr().err


def test_the_alias_takes_multi_model_servers_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_folder(tmp_path, monkeypatch)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for flags, said in (
        (["--stop"], "TorchServe is not currently running."),
        (["--start", "--mms-config", "nope"], "--ts-config file not found: nope"),
        (
            ["--model-store", "nope", "--models", "a.mar", "x=b.mar"],
            "--model-store directory not found: nope",
        ),
        (["--log-config", "nope"], f"--log-config file not found: {tmp_path / 'nope'}"),
    ):
        assert multi_model_server(flags) == (0 if flags == ["--stop"] else 1)
        assert capsys.readouterr().out.strip() == said
    with pytest.raises(SystemExit):
        multi_model_server(["--ts-config", "x"])
    assert "usage: multi-model-server" in capsys.readouterr().err
