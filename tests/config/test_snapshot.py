"""Snapshots: written and read back, also TorchServe's own, and which configuration wins at start."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from config.versions import kept
from torchkeeper.archive.startup import snapshot_models, startup_models
from torchkeeper.config.setting_key import SettingKey
from torchkeeper.config.settings import CommandLine, Settings, load_settings
from torchkeeper.config.snapshot import Snapshots, newest_snapshot
from torchkeeper.config.table import KEYS
from torchkeeper.errors import SettingsError

# What TorchServe 0.12.0 itself wrote (on Java 17): `--models echo.mar echo=echo2.mar other=other.mar` (the
# last with a model-config.yaml), then `PUT /models/other?min_worker=1&max_worker=3` and
# `PUT /models/echo/2.0/set-default`, which left this file. cors_allowed_origin and the stray key were put
# into config.properties for their escapes. Only paths were changed afterwards.
RECORDED = Path(__file__).parents[1] / "data" / "20261125043925467-snapshot.cfg"


ECHO = kept("echo", "1.0", "echo.mar", False, 1, 1, 1, 100, 120, 120, "python")
ECHO_2 = kept("echo", "2.0", "echo2.mar", True, 1, 1, 1, 100, 120, 120, "python")
OTHER = kept("other", "1.0", "other.mar", True, 1, 3, 4, 20, 60, 120, "python")

MOMENT = datetime(2026, 11, 25, 4, 39, 25, 467000)


def settings_of(folder: Path, text: str = "", **flags: object) -> tuple[Settings, tuple[str, ...]]:
    (folder / "model_store").mkdir(exist_ok=True)
    if text:
        (folder / "config.properties").write_text(text)
    return load_settings(CommandLine(**flags), {}, folder)  # type: ignore[arg-type]  # flags by name


def store_with(folder: Path, *archives: str) -> Path:
    store = folder / "model_store"
    store.mkdir(exist_ok=True)
    for name in archives:
        (store / name).touch()
    return store


# --- TorchServe's own -----------------------------------------------------------------------------------


def test_a_snapshot_of_torchserves_is_read(tmp_path: Path) -> None:
    store = store_with(tmp_path, "echo.mar", "echo2.mar", "other.mar")
    settings, warnings = settings_of(tmp_path, ts_config=RECORDED, model_store=store)
    assert snapshot_models(settings) == (OTHER, ECHO, ECHO_2)
    assert startup_models(settings) == []
    assert settings.model_snapshot.created == 1795581565467
    assert settings.inference_address.port == 18480
    assert settings.cors_allowed_origin == "ä€ \\d=1:2#3!4"
    assert settings.enable_model_api
    assert settings.disable_token_authorization
    assert not [text for text in warnings if text.startswith(("version", "tsConfigFile"))]


def test_a_file_of_ours_has_torchserves_lines(tmp_path: Path) -> None:
    store = store_with(tmp_path, "echo.mar", "echo2.mar", "other.mar")
    settings, _ = settings_of(tmp_path, ts_config=RECORDED, model_store=store)
    path = Snapshots(tmp_path / "config", lambda: MOMENT).save("snapshot", settings, (OTHER, ECHO, ECHO_2))
    assert path is not None
    assert path.name == RECORDED.name
    first, date, *lines = path.read_text().splitlines()
    assert first == "#Saving snapshot"
    assert date.startswith("#Wed Nov 25 04:39:25 ")
    moment = f"{int(MOMENT.timestamp() * 1000)}"
    recorded = RECORDED.read_text().replace("1795581565467", moment).splitlines()
    # Others than ours: the store and the file that this test names, a key that TorchServe does not know
    # either, and letters beyond ASCII: TorchServe writes them raw and reads them back wrongly.
    changed = ("model_store", "tsConfigFile", "stray", "cors_allowed_origin")
    expected = {line for line in recorded[2:] if not line.startswith(changed)}
    assert {line for line in lines if not line.startswith(changed)} == expected


# --- ours -----------------------------------------------------------------------------------------------


def test_a_round_trip_over_the_disk(tmp_path: Path) -> None:
    store = store_with(tmp_path, "echo.mar")
    text = "job_queue_size=7\nblacklist_env_vars=\\\\w+ x\\=1\ncors_allowed_headers=ä\\u20ac\n"
    first, _ = settings_of(tmp_path, text, model_store=store, enable_model_api=True)
    saved = Snapshots(tmp_path / "logs" / "config").save("shutdown", first, (ECHO,))
    again, warnings = settings_of(tmp_path)
    assert again.config_file == saved
    assert again.texts | {"model_snapshot": ""} == first.texts | {
        "model_snapshot": "",
        "version": "0.12.0",
        "tsConfigFile": str(tmp_path / "config.properties"),
    }
    for name in ("job_queue_size", "blacklist_env_vars", "cors_allowed_headers", "model_store"):
        assert getattr(again, name) == getattr(first, name)
    assert again.enable_model_api
    assert snapshot_models(again) == (ECHO,)
    assert warnings[0].startswith(f"THE SNAPSHOT {saved} IS USED, {tmp_path / 'config.properties'} IS NOT")


def test_models_of_a_snapshot_beat_those_of_the_command_line_and_that_is_said(tmp_path: Path) -> None:
    store = store_with(tmp_path, "echo.mar")
    first, _ = settings_of(tmp_path, "job_queue_size=7\n", model_store=store)
    Snapshots(tmp_path / "logs" / "config").save("startup", first, (ECHO,))
    again, warnings = settings_of(tmp_path, models=("b.mar",))
    assert startup_models(again) == []
    assert snapshot_models(again) == (ECHO,)
    assert any(text.startswith("--models is ignored: the snapshot ") for text in warnings)


@pytest.mark.parametrize(
    ("environ", "flags", "winner"),
    [
        ({}, {}, "snapshot"),
        ({}, {"no_config_snapshots": True}, "config.properties"),
        ({}, {"ts_config": Path("flag.properties")}, "flag.properties"),
        ({"TS_CONFIG_FILE": "env.properties"}, {"ts_config": Path("flag.properties")}, "env.properties"),
        ({"LOG_LOCATION": "elsewhere"}, {}, "config.properties"),
    ],
)
def test_which_configuration_wins(
    tmp_path: Path, environ: dict[str, str], flags: dict[str, object], winner: str
) -> None:
    for name in ("config.properties", "flag.properties", "env.properties"):
        (tmp_path / name).write_text("")
    plain, _ = load_settings(CommandLine(), {}, tmp_path)
    saved = Snapshots(tmp_path / "logs" / "config").save("startup", plain, ())
    settings, warnings = load_settings(CommandLine(**flags), environ, tmp_path)  # type: ignore[arg-type]
    assert settings.config_file == (saved if winner == "snapshot" else tmp_path / winner)
    assert bool(warnings) == (winner == "snapshot")


def test_the_newest_counts_and_nothing_else_does(tmp_path: Path) -> None:
    assert newest_snapshot(tmp_path / "none") is None
    for name in (
        "20261125043925467-startup.cfg",
        "20261125043925468-shutdown.cfg",
        "20271125043925468-backup.cfg",
        ".20271125043925468-startup.cfg.part",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    found = newest_snapshot(tmp_path)
    assert found is not None
    assert found.name == "20261125043925468-shutdown.cfg"


@pytest.mark.parametrize("step", [0, -3_600_000, 5])
def test_names_grow_also_when_the_clock_stands_or_goes_back(tmp_path: Path, step: int) -> None:
    settings, _ = settings_of(tmp_path)
    moments = iter(MOMENT + timedelta(milliseconds=step * count) for count in range(5))
    snapshots = Snapshots(tmp_path / "config", lambda: next(moments))
    paths = [snapshots.save("snapshot", settings, ()) for _ in range(5)]
    assert paths == sorted(set(paths), key=str)
    assert newest_snapshot(tmp_path / "config") == paths[-1]


def test_files_are_whole_readable_and_alone(tmp_path: Path) -> None:
    settings, _ = settings_of(tmp_path)
    path = Snapshots(tmp_path / "config").save("startup", settings, (ECHO,))
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_password_is_for_its_owner_only(tmp_path: Path) -> None:
    settings, _ = settings_of(tmp_path, "keystore_pass=secret\n")
    path = Snapshots(tmp_path / "config").save("startup", settings, ())
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("key", [key for key in KEYS if not key.from_file], ids=lambda key: key.name)
def test_a_key_that_is_given_from_outside_is_not_kept(tmp_path: Path, key: SettingKey) -> None:
    environ = {key.variable: "a-key-of-some-length"}
    settings, _ = load_settings(CommandLine(), environ, tmp_path)
    path = Snapshots(tmp_path / "logs" / "config").save("startup", settings, ())
    assert path is not None
    assert "a-key-of-some-length" not in path.read_text()
    again, _ = load_settings(CommandLine(), environ, tmp_path)
    assert again.config_file == path
    assert getattr(again, key.name) == "a-key-of-some-length"


def test_none_is_written_when_none_is_wanted(tmp_path: Path) -> None:
    settings, _ = settings_of(tmp_path, no_config_snapshots=True)
    assert Snapshots(tmp_path / "config").save("startup", settings, ()) is None
    assert not (tmp_path / "config").exists()


def test_a_folder_that_cannot_be_written_to_is_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, _ = settings_of(tmp_path)
    (tmp_path / "config").touch()
    assert Snapshots(tmp_path / "config").save("startup", settings, ()) is None
    assert str(tmp_path / "config") in caplog.text


def test_a_folder_where_nothing_may_be_written_is_tried_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, _ = settings_of(tmp_path)
    barred = tmp_path / "barred"
    barred.mkdir(0o555)
    snapshots = Snapshots(barred / "config")
    user = os.geteuid()
    os.seteuid(user or 65534)  # permissions mean nothing to a superuser
    try:
        found = [snapshots.save("startup", settings, ()), snapshots.save("shutdown", settings, ())]
    finally:
        os.seteuid(user)
    assert found == [None, None]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(barred) in caplog.text


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "must be JSON of the form"),
        ('{"models": {"m": 1}}', "must be JSON of the form"),
        ('{"models": {"m": {"1.0": 1}}}', "m/1.0 must be an object"),
        ('{"models": {"m": {"1.0": {}}}}', "m/1.0 names no marName"),
        ('{"models": {"m": {"1.0": {"marName": "a", "minWorkers": -1}}}}', "m/1.0/minWorkers: -1 must be"),
        ('{"models": {"m": {"1.0": {"marName": "a", "batchSize": "x"}}}}', "m/1.0/batchSize: 'x' must be"),
        ('{"models": {"m": {"1.0": {"marName": "a", "batchSize": true}}}}', "m/1.0/batchSize: True must"),
        ('{"created": "now", "models": {}}', "created: 'now' must be a whole number"),
    ],
)
def test_a_bad_snapshot_is_one_line(tmp_path: Path, value: str, why: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings_of(tmp_path, f"model_snapshot={value}\n")
    assert why in raised.value.message
    assert "config.properties:1" in raised.value.message
    assert len(raised.value.message.splitlines()) == 1


@pytest.mark.parametrize("name", ["gone.mar", "../outside.mar", "/etc/passwd", "."])
def test_an_archive_that_is_not_in_the_store_keeps_the_server_from_starting(
    tmp_path: Path, name: str
) -> None:
    store_with(tmp_path)
    (tmp_path / "outside.mar").touch()
    fields = {"defaultVersion": True, "marName": name}
    (tmp_path / "s.cfg").write_text(f"model_snapshot={json.dumps({'models': {'m': {'1.0': fields}}})}\n")
    command = [*(sys.executable, "-m", "torchkeeper.cli", "--start", "--foreground", "--ts-config", "s.cfg")]
    command += ["--model-store", "model_store"]
    environ = {**os.environ, "LC_ALL": "C", "TEMP": str(tmp_path)}  # the pid file is a server's own
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, env=environ)
    assert done.returncode == 1
    assert done.stdout == (
        "Invalid configuration: Model archive file for model :m, version :1.0 not found in model store: "
        f"no {name} in model_store ({tmp_path / 's.cfg'})\n"
    )
    assert not list(tmp_path.rglob("*shutdown.cfg")), "no empty snapshot that would win at the next start"
