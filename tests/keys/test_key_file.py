"""Keys in files: the one that is written, those that are given, and what is said of unusable ones."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from torchkeeper.config.settings import CommandLine, Settings, load_settings, secret_variables
from torchkeeper.errors import SettingsError
from torchkeeper.keys.key import Key
from torchkeeper.keys.key_file import KeyFile, announcement, given_keys, start_tokens

LONG = "a-key-of-some-length"
#: Minutes.
CENTURY = 100 * 365 * 24 * 60


def settings(folder: Path, text: str = "", environ: dict[str, str] | None = None) -> Settings:
    (folder / "config.properties").write_text(text)
    return load_settings(CommandLine(), environ or {}, folder)[0]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_its_owner_reads_it_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    file = KeyFile(tmp_path)
    before = os.umask(umask)
    try:
        file.write("one")
    finally:
        os.umask(before)
    assert mode(file.path) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key_file.json"]


def test_it_is_replaced_whole_and_a_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.write("the old keys")
    with file.path.open() as reader:
        file.write("new")
        assert reader.read() == "the old keys"
    assert file.path.read_text() == "new"


def test_a_link_or_a_readable_file_in_its_place_is_replaced_and_not_written_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "key_file.json").symlink_to(victim)
    file = KeyFile(tmp_path)
    file.write("keys")
    assert victim.read_text() == "untouched"
    assert not file.path.is_symlink()
    file.path.chmod(0o644)
    file.write("keys")
    assert mode(file.path) == 0o600


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "key_file.json").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        KeyFile(tmp_path).write("keys")
    assert [path.name for path in tmp_path.iterdir()] == ["key_file.json"]


def test_it_is_removed_from_any_folder_but_never_another_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = KeyFile(Path("."))
    first.write("first")
    monkeypatch.chdir("/")
    second = KeyFile(tmp_path)
    second.write("second")
    first.remove()
    assert second.path.read_text() == "second"
    second.remove()
    second.remove()
    assert not list(tmp_path.iterdir())


def test_a_server_starts_with_a_key_file(tmp_path: Path) -> None:
    found = settings(tmp_path, "token_expiration_min=0.5\n")
    started = start_tokens(found, tmp_path, clock=lambda: 0.0)
    assert started is not None
    tokens, file = started
    document = json.loads(file.path.read_text())
    assert document["inference"]["expiration time"] == "1970-01-01T00:00:30.000000Z"
    assert tokens.check(Key.INFERENCE, f"Bearer {document['inference']['key']}", "a", 29.0) == 0.0
    said = announcement(file)
    assert said[0] == said[-1] == "######"
    assert f"Key file located at {tmp_path / 'key_file.json'}" in said
    assert not [line for line in said for entry in document.values() if entry["key"] in line]


def test_no_tokens_when_they_are_off(tmp_path: Path) -> None:
    assert start_tokens(settings(tmp_path, "disable_token_authorization=true\n"), tmp_path) is None
    assert not (tmp_path / "key_file.json").exists()


def test_a_folder_that_takes_no_key_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "key_file.json").mkdir()
    with pytest.raises(SettingsError, match=r"key_file\.json cannot be written: Is a directory; start in"):
        start_tokens(settings(tmp_path), tmp_path)


def test_keys_come_from_the_environment_and_from_mounted_files(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.write_text("the-key-of-a-mounted-file\n")
    environ = {
        "TS_INFERENCE_KEY": LONG,
        "TS_MANAGEMENT_KEY_FILE": str(mounted),
        "TS_JOB_QUEUE_SIZE": "7",
    }
    found = settings(tmp_path, environ=environ)
    assert given_keys(found) == {Key.INFERENCE: LONG, Key.MANAGEMENT: "the-key-of-a-mounted-file"}
    assert found.job_queue_size == 100  # other variables wait for enable_envvars_config
    assert given_keys(settings(tmp_path, f"management_key_file={mounted}\n")) == {
        Key.MANAGEMENT: "the-key-of-a-mounted-file"
    }


def test_all_keys_given_is_a_server_without_a_key_file_and_the_same_after_a_restart(tmp_path: Path) -> None:
    environ = {f"TS_{kind}_KEY": f"{LONG}-{kind}" for kind in ("MANAGEMENT", "INFERENCE", "API")}
    for now in (0.0, 1e9):
        started = start_tokens(settings(tmp_path, environ=environ), tmp_path, clock=lambda: now)  # noqa: B023
        assert started is not None
        tokens, file = started
        assert tokens.check(Key.MANAGEMENT, f"Bearer {LONG}-MANAGEMENT", "a", now + 1e6) == 0.0
        assert not file.path.exists()
        assert "All keys were given from outside: no key file." in announcement(file)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TS_API_KEY": "short"}, r"api_key \(environment TS_API_KEY\): a key has 16 to 4096 characters"),
        ({"TS_API_KEY": "two words in one key"}, r"api_key .*: a key is one word of visible ASCII"),
        ({"TS_API_KEY": LONG, "TS_API_KEY_FILE": "x"}, "api_key and api_key_file are both set"),
        ({"TS_API_KEY": LONG, "TS_INFERENCE_KEY": LONG}, "they must differ"),
        ({"TS_API_KEY_FILE": "/nowhere/at/all"}, "api_key_file=/nowhere/at/all .*: cannot be read: No such"),
        ({"TS_API_KEY_FILE": "/"}, "api_key_file=/ .*: cannot be read: Is a directory"),
    ],
)
def test_a_key_that_cannot_be_used_is_one_line_without_the_key(
    tmp_path: Path, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        given_keys(settings(tmp_path, environ=environ))
    assert "\n" not in raised.value.message
    assert environ.get("TS_API_KEY", "?" * 99) not in raised.value.message


def test_a_mounted_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(SettingsError, match="characters outside ASCII"):
        given_keys(settings(tmp_path, environ={"TS_API_KEY_FILE": str(path)}))
    path.write_bytes(b"k" * 10_000)
    with pytest.raises(SettingsError, match="16 to 4096 characters"):
        given_keys(settings(tmp_path, environ={"TS_API_KEY_FILE": str(path)}))


def test_a_key_in_config_properties_is_refused_without_being_repeated(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="use inference_key_file or the variable TS_INFERENCE_KEY"
    ) as raised:
        settings(tmp_path, f"inference_key={LONG}\n")
    assert LONG not in raised.value.message


def test_the_variables_that_workers_must_not_see() -> None:
    keys = {f"TS_{kind}_KEY" for kind in ("MANAGEMENT", "INFERENCE", "API")}
    places = {"TS_PRIVATE_KEY_FILE", *(f"{key}_FILE" for key in keys)}
    assert secret_variables() == {"TS_KEYSTORE_PASS", *keys, *places}


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "1e99", "soon"])
def test_a_lifetime_that_makes_no_sense_is_taken_as_by_torchserve_or_refused(
    tmp_path: Path, minutes: str
) -> None:
    found = settings(tmp_path, f"token_expiration_min={minutes}\n").token_expiration_min
    assert found == {"soon": 60, "inf": CENTURY, "1e99": CENTURY}.get(minutes, 0)
    with pytest.raises(SettingsError, match=f"token_expiration_min={minutes} "):
        settings(tmp_path, f"token_expiration_min={minutes}\nstrict_config=true\n")
