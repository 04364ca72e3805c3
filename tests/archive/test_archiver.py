"""The archiver: what it packs under which name, what it refuses, and the same bytes twice."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from torchkeeper.archive.archive import FORMATS, MANIFEST, open_archive, output_path
from torchkeeper.archive.archiver import (
    ArgParser,
    ModelArchiverConfig,
    ModelArchiverError,
    archive_model,
    generate_model_archive,
    torch_model_archiver,
)
from torchkeeper.handler.builtin import BUILTIN


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for name in ("model.py", "weights.pt", "handler.py", "req.txt", "model-config.yaml", "a.json", "b.json"):
        (tmp_path / name).write_text(f"# {name}\n")
    extra = tmp_path / "extra"
    for name in ("one.txt", ".dotfile", "deeper/two.txt", "deeper/__pycache__/no.pyc", ".git/no"):
        (extra / name).parent.mkdir(parents=True, exist_ok=True)
        (extra / name).write_text(name)
    (tmp_path / "out").mkdir()
    return tmp_path


def config(inputs: Path, **changes: object) -> ModelArchiverConfig:
    values: dict[str, object] = {
        "model_name": "m",
        "version": "2.0",
        "handler": str(inputs / "handler.py"),
        "model_file": str(inputs / "model.py"),
        "serialized_file": str(inputs / "weights.pt"),
        "extra_files": f"{inputs / '*.json'},{inputs / 'extra'}",
        "requirements_file": str(inputs / "req.txt"),
        "config_file": str(inputs / "model-config.yaml"),
        "export_path": str(inputs / "out"),
    }
    return ModelArchiverConfig(**(values | changes))  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_round_trip(inputs: Path, archive_format: str) -> None:
    path = archive_model(config(inputs, archive_format=archive_format))
    assert path == output_path("m", inputs / "out", archive_format)
    archive = open_archive(path, inputs / "unpacked")
    files = {
        file.relative_to(archive.model_dir).as_posix()
        for file in archive.model_dir.rglob("*")
        if file.is_file()
    }
    assert files == {
        *(
            "model.py",
            "weights.pt",
            "handler.py",
            "req.txt",
            "model-config.yaml",
            "a.json",
            "b.json",
            "one.txt",
            ".dotfile",
            "deeper/two.txt",
        ),
        MANIFEST,
    }
    assert list(archive.raw_manifest) == ["createdOn", "runtime", "model", "archiverVersion"]
    assert archive.raw_manifest["model"] == {
        "modelName": "m",
        "serializedFile": "weights.pt",
        "handler": "handler.py",
        "modelFile": "model.py",
        "modelVersion": "2.0",
        "requirementsFile": "req.txt",
        "configFile": "model-config.yaml",
    }
    assert [entry.name for entry in (inputs / "out").iterdir()] == [path.name], "no scratch is left"


@pytest.mark.parametrize("archive_format", ["default", "zip-store", "tgz"])
def test_the_same_inputs_give_the_same_bytes(
    inputs: Path, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = archive_model(config(inputs, archive_format=archive_format)).read_bytes()
    (inputs / "handler.py").touch()
    assert archive_model(config(inputs, archive_format=archive_format, force=True)).read_bytes() == first


@pytest.mark.parametrize(
    ("handler", "named"),
    [
        ("image_classifier", "image_classifier"),
        ("{}/handler.py", "handler.py"),
        ("{}/handler:entry", "handler:entry"),
        ("{}/handler.py:entry", "handler:entry"),
    ],
)
def test_handlers(inputs: Path, handler: str, named: str) -> None:
    archive = open_archive(archive_model(config(inputs, handler=handler.format(inputs))), inputs / "unpacked")
    assert archive.manifest.handler == named


@pytest.mark.parametrize("handler", BUILTIN)
def test_every_handler_that_the_server_has_can_be_named(inputs: Path, handler: str) -> None:
    assert (
        open_archive(archive_model(config(inputs, handler=handler)), inputs / "m").manifest.handler == handler
    )


def test_a_handler_file_named_tensors_is_meant_where_there_is_one(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    named = archive_model(config(inputs, handler="tensors"))
    assert open_archive(named, inputs / "built-in").manifest.handler == "tensors"
    (inputs / "tensors.py").write_bytes((inputs / "handler.py").read_bytes())
    own = open_archive(archive_model(config(inputs, handler="tensors", force=True)), inputs / "own")
    assert own.manifest.handler == "tensors"
    assert (own.model_dir / "tensors.py").is_file()
    assert not (inputs / "built-in" / "tensors.py").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_name": "../m"}, "Model name contains special characters."),
        ({"handler": "nope.py"}, "--handler: File does not exist: nope.py"),
        ({"serialized_file": "nope.pt"}, "--serialized-file: File does not exist: nope.pt"),
        ({"model_file": "/"}, "--model-file: not a file: /"),
        ({"extra_files": "nope.txt"}, "File does not exist: nope.txt"),
        ({"runtime": "java"}, "'java' is not a valid RuntimeType"),
        ({"export_path": "/nope"}, "Given export-path /nope is not a directory."),
    ],
)
def test_what_cannot_be_archived_is_said(inputs: Path, changes: dict[str, object], text: str) -> None:
    with pytest.raises(ModelArchiverError) as raised:
        archive_model(config(inputs, **changes))
    assert str(raised.value).startswith(text)
    assert not list((inputs / "out").iterdir())


@pytest.mark.parametrize("changes", [{"serialized_file": "nope.pt"}, {"extra_files": "nope.txt"}])
def test_a_missing_file_is_told_in_both_of_the_ways_that_scripts_wait_for(
    inputs: Path, changes: dict[str, object]
) -> None:
    for kind in (FileNotFoundError, ModelArchiverError):
        with pytest.raises(kind, match="File does not exist"):
            archive_model(config(inputs, **changes))


def test_a_pattern_that_matches_nothing_is_a_warning(
    inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive_model(config(inputs, extra_files=f"{inputs}/nope*,{inputs}/[ab].json"))
    assert capsys.readouterr().err == f"WARNING - --extra-files: no file matches {inputs}/nope*\n"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(inputs: Path) -> None:
    (inputs / "[ab].json").write_text("itself")
    archive = open_archive(
        archive_model(config(inputs, extra_files=f"{inputs}/[ab].json")), inputs / "unpacked"
    )
    assert (archive.model_dir / "[ab].json").read_text() == "itself"
    assert not (archive.model_dir / "a.json").exists()


@pytest.mark.parametrize("lacking", [(), ("config_file", "extra_files", "force", "archive_format")])
def test_the_flags_come_from_any_object_that_has_them(lacking: tuple[str, ...]) -> None:
    whole = ModelArchiverConfig("m", "h", "1", runtime="python3")
    flags = {key: value for key, value in vars(whole).items() if key not in lacking}
    assert ModelArchiverConfig.from_args(argparse.Namespace(**flags, more=1)) == whole
    with pytest.raises(AttributeError, match="version"):
        ModelArchiverConfig.from_args(argparse.Namespace(model_name="m", handler="h"))


def test_the_command_says_it_in_one_line_and_fails(inputs: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from torchkeeper.archive.archiver import *; sys.exit(torch_model_archiver())",
    ]
    arguments = [
        "--model-name",
        "m",
        "--version",
        "1",
        "--handler",
        "nope.py",
        "--export-path",
        str(inputs / "out"),
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (1, "ERROR - --handler: File does not exist: nope.py\n")


def test_an_existing_archive_is_kept_unless_forced(inputs: Path) -> None:
    path = archive_model(config(inputs))
    before = path.read_bytes()
    with pytest.raises(ModelArchiverError, match="already exists"):
        archive_model(config(inputs))
    assert path.read_bytes() == before


def test_a_folder_is_written_over_and_what_else_is_in_it_stays(inputs: Path) -> None:
    theirs = inputs / "out" / "m" / ".git" / "HEAD"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("keep me")
    (inputs / "out" / "m" / "handler.py").write_text("old")
    path = archive_model(config(inputs, archive_format="no-archive", force=True))
    assert theirs.read_text() == "keep me"
    assert (path / "handler.py").read_text() == "# handler.py\n"
    assert [entry.name for entry in (inputs / "out").iterdir()] == ["m"], "no scratch is left"


@pytest.mark.parametrize("archive_format", FORMATS)
def test_an_unpacked_archives_folder_is_packed_without_its_manifest(
    inputs: Path, archive_format: str
) -> None:
    for name in ("extra", "another"):
        (inputs / name / "MAR-INF").mkdir(parents=True)
        (inputs / name / MANIFEST).write_text('{"model": {"modelName": "old", "handler": "old"}}')
    extra = f"{inputs / 'extra'},{inputs / 'another'}"
    path = archive_model(config(inputs, extra_files=extra, archive_format=archive_format))
    archive = open_archive(path, inputs / "unpacked")
    assert (archive.manifest.model_name, archive.manifest.handler) == ("m", "handler.py")
    assert (archive.model_dir / "one.txt").is_file()


def test_an_archive_does_not_hold_what_it_replaces(inputs: Path) -> None:
    for _ in range(2):
        path = archive_model(config(inputs, extra_files=str(inputs / "out"), force=True))
    assert not (open_archive(path, inputs / "unpacked").model_dir / "m.mar").exists()


@pytest.mark.parametrize("epoch", ["banana", "-1", "1.5", "4294967296", "99999999999999999", "\u0663"])
@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_time_that_no_archive_can_hold_is_said(
    inputs: Path, epoch: str, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(ModelArchiverError, match=f"SOURCE_DATE_EPOCH={epoch} must be a number of seconds"):
        archive_model(config(inputs, archive_format=archive_format))
    assert not list((inputs / "out").iterdir())


@pytest.mark.parametrize("epoch", ["", "0", "4294967295"])
@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_time_that_archives_can_hold(
    inputs: Path, epoch: str, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert archive_model(config(inputs, archive_format=archive_format)).exists()


def test_files_of_one_name_are_not_packed_over_each_other(inputs: Path) -> None:
    other = inputs / "extra" / "deeper" / "handler.py"
    other.write_text("# another\n")
    with pytest.raises(ModelArchiverError, match="would have the same name in the archive"):
        archive_model(config(inputs, extra_files=str(other)))
    archive_model(config(inputs, extra_files=f"{inputs / 'handler.py'}, ,{inputs / 'a.json'}"))


@pytest.mark.parametrize(
    ("handler", "runtime"),
    [("base_handler", "python"), ("base_handler", "python3"), ("TorchScriptHandler", "LSP")],
)
def test_a_built_in_handler_is_named_and_not_packed(inputs: Path, handler: str, runtime: str) -> None:
    packed = archive_model(config(inputs, handler=handler, runtime=runtime, extra_files=None))
    archive = open_archive(packed, inputs / "unpacked")
    assert (archive.manifest.handler, archive.raw_manifest["runtime"]) == (handler, runtime)
    assert not (archive.model_dir / "handler.py").exists()


@pytest.mark.parametrize(("handler", "runtime"), [("base_handler", "LSP"), ("base_handler:entry", "python")])
def test_what_is_no_built_in_handler_is_a_file(inputs: Path, handler: str, runtime: str) -> None:
    with pytest.raises(ModelArchiverError, match=r"--handler: File does not exist: base_handler"):
        archive_model(config(inputs, handler=handler, runtime=runtime))


@pytest.mark.parametrize(
    ("flags", "config_file", "asking"),
    [
        ({"handler": "vllm_handler"}, "", ["handler vllm_handler asks for"]),
        ({"handler": "trt_llm_handler"}, "", ["handler trt_llm_handler asks for TensorRT-LLM's engine"]),
        ({"handler": "TorchScriptHandler", "runtime": "LSP"}, "", ["runtime LSP asks for the C++ back end"]),
        ({}, "sequenceBatching: true\n", ["sequenceBatching in model-config.yaml asks for"]),
        ({}, "execution: {thread: 2}\n", ["model-config.yaml: execution.thread is no key"]),
        ({}, "parallelType: tp\n", ["parallelType: tp in model-config.yaml asks for"]),
        ({}, "batchSize: 4\n", []),
        ({"handler": "image_classifier"}, "[no mapping]\n", []),
    ],
)
def test_an_archive_that_asks_for_what_is_not_here_is_made_with_a_warning(
    inputs: Path,
    capsys: pytest.CaptureFixture[str],
    flags: dict[str, Any],
    config_file: str,
    asking: list[str],
) -> None:
    if config_file:
        (inputs / "some.yaml").write_text(config_file)
        flags = {**flags, "config_file": str(inputs / "some.yaml")}
    assert archive_model(config(inputs, **flags)).exists()
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"WARNING - {text}") for line, text in zip(said, asking, strict=True)] == [
        True for _ in asking
    ]


FLAGS = ("--model-name", "m", "--version", "1", "--handler", "base_handler")


def test_from_the_command_line_and_from_python(
    inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert torch_model_archiver([*FLAGS, "--export-path", str(inputs / "out")]) == 0
    assert torch_model_archiver([*FLAGS, "--export-path", str(inputs / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"ERROR - {inputs / 'out' / 'm.mar'} already exists.")
    assert torch_model_archiver([*FLAGS, "--export-path", str(inputs / "out"), "-f"]) == 0
    assert capsys.readouterr().err.startswith("WARNING - Overwriting ")
    generate_model_archive(config(inputs, force=True))
    with pytest.raises(ModelArchiverError, match="already exists"):
        generate_model_archive(config(inputs))
    monkeypatch.setattr(sys, "argv", ["torch-model-archiver", *FLAGS])
    monkeypatch.chdir(inputs)
    generate_model_archive()
    assert (inputs / "m.mar").is_file(), "without --export-path it is written here"
    with pytest.raises(ModelArchiverError, match="already exists"):
        generate_model_archive()
    read = ArgParser.export_model_args_parser()
    assert read == ModelArchiverConfig("m", "base_handler", "1")
    assert read.export_path == str(inputs)


@pytest.mark.parametrize("missing", FLAGS[::2])
def test_what_must_be_said(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = FLAGS.index(missing)
    with pytest.raises(SystemExit) as left:
        torch_model_archiver([*FLAGS[:place], *FLAGS[place + 2 :]])
    assert left.value.code == 2
    assert missing in capsys.readouterr().err
