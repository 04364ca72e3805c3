"""What `torchkeeper inspect` prints: all that is in an archive, and none of it is run."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from signers import KeyPair
from torchkeeper.cli import torchkeeper
from torchkeeper.doctor import pickles
from torchkeeper.doctor.inspection import inspect_archive

MANIFEST = {"createdOn": "today", "model": {"modelName": "m", "handler": "h.py", "modelVersion": "1.0"}}
HANDLER = """
import os, torch.nn
from .mine import thing


def handle(data, context):
    from transformers import pipeline
    import \\
        json
"""


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    parts = tmp_path / "parts"
    (parts / "MAR-INF").mkdir(parents=True)
    (parts / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(MANIFEST))
    (parts / "h.py").write_text(HANDLER)
    (parts / "broken.py").write_text("def (")
    (parts / "deep.py").write_text("(" * 100_000)
    (parts / "net.pt2").write_bytes(b"code")
    (parts / "notes.txt").write_text("nothing")
    torch.save({"w": torch.zeros(2)}, parts / "good.pt")
    torch.save({"w": torch.zeros(2)}, parts / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"w": Evil()}, parts / "evil.pt")
    torch.jit.script(torch.nn.Linear(2, 3)).save(parts / "script.pt")
    (parts / "two.pkl").write_bytes(pickle.dumps(collections.Counter()) + pickle.dumps(Evil()) + b"\xff more")
    path = tmp_path / "m.mar"
    with zipfile.ZipFile(path, "w") as packed:
        for each in sorted(parts.rglob("*")):
            if each.is_file():
                packed.write(each, each.relative_to(parts))
    return path


def test_every_file_is_there_with_what_it_would_bring(archive: Path, tmp_path: Path) -> None:
    found = inspect_archive(archive, tmp_path / "scratch")
    assert (found.name, found.size) == ("m.mar", archive.stat().st_size)
    assert found.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert found.manifest["model"]["handler"] == "h.py"
    files = {file.name: file for file in found.files}
    assert len(files) == len(found.files) == 11
    for name, file in files.items():
        content = (tmp_path / "parts" / name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert files["h.py"].imports == (".mine", "json", "os", "torch.nn", "transformers")
    assert files["broken.py"].note.startswith("its imports are not told: line 1")
    assert files["deep.py"].note.startswith("its imports are not told: ")
    assert files["net.pt2"].note.startswith("code: ")
    for name in ("good.pt", "old.pt"):
        assert "torch._utils._rebuild_tensor_v2" in files[name].pickled
        assert files[name].refused == ()
    system = f"{os.system.__module__}.system"
    assert (files["evil.pt"].pickled, files["evil.pt"].refused) == ((system,), (system,))
    assert files["script.pt"].note == "code: TorchScript"
    assert files["two.pkl"].pickled == ("collections.Counter", system)
    assert files["two.pkl"].refused == (system,)
    assert "on it is no pickle" in files["two.pkl"].note
    assert (files["notes.txt"].note, files["notes.txt"].pickled) == ("", ())
    assert not (tmp_path / "canary").exists()


def test_the_command_prints_text_or_json(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert torchkeeper(["inspect", str(archive)]) == 0
    text = capsys.readouterr().out
    for line in (
        '  model.handler: "h.py"',
        "    imports .mine, json, os, torch.nn, transformers",
        f"    its pickle names {os.system.__module__}.system (weights_only refuses it)",
        "    its pickle names collections.OrderedDict",
    ):
        assert line in text.splitlines()
    assert torchkeeper(["inspect", "--json", str(archive)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["manifest"]["createdOn"] == "today"
    assert [file["name"] for file in found["files"]] == sorted(file["name"] for file in found["files"])
    assert not Path("canary").exists()


def test_a_folder_is_an_archive_too_and_tells_terminals_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m" / "MAR-INF").mkdir(parents=True)
    manifest = {**MANIFEST, "model": {"handler": "h\x1b[2J", "\x1b": 1}}
    (tmp_path / "m" / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    (tmp_path / "m" / "a\x1bb\n.txt").touch()
    assert torchkeeper(["inspect", str(tmp_path / "m")]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "m"
    assert "\x1b" not in text
    assert "a\\x1bb\\n.txt" in text


def test_what_the_server_would_not_read_is_told_like_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.mar").write_text("no archive")
    for name, said in (("m.mar", "m.mar: neither a zip file (.mar) nor"), ("absent.mar", "absent.mar")):
        assert torchkeeper(["inspect", str(tmp_path / name)]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("torchkeeper inspect: error: ")
        assert said in captured.err
        assert captured.out == ""


def test_a_pickle_of_too_many_bytes_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_PICKLE", 1000)
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps([collections.OrderedDict(), b"x" * 2000, collections.Counter()]))
    found = pickles.pickled_names(path)
    assert found is not None
    assert found.names == ("collections.OrderedDict",)
    assert found.beyond == "from byte 0 on it is no pickle: it has more than 1000 bytes"


def test_who_has_signed_an_archive_is_said_and_checked_with_a_key(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torchkeeper(["inspect", str(archive)]) == 0
    assert "\nsignature: none\n" in capsys.readouterr().out
    ours, theirs = KeyPair(tmp_path, "ours"), KeyPair(tmp_path, "theirs")
    ours.sign(archive)
    assert torchkeeper(["inspect", str(archive)]) == 0
    assert "\nsignature: m.mar.sig says it is of the key sha256:" in capsys.readouterr().out
    assert torchkeeper(["inspect", str(archive), "--public-key", str(ours.public)]) == 0
    assert "\nsignature: verified: the key sha256:" in capsys.readouterr().out
    assert torchkeeper(["inspect", str(archive), "--public-key", str(theirs.public), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["signature"].startswith("invalid: ")
    assert torchkeeper(["inspect", str(archive), "--public-key", "absent.pub"]) == 1
    assert "absent.pub cannot be used: No such file" in capsys.readouterr().err
