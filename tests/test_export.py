"""`torchkeeper export`: an archive becomes one with a .pt2 file, and its handler answers as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from exports import needs_compiler
from servers import EXAMPLE
from torchkeeper.archive.archive import open_archive
from torchkeeper.archive.archiver import ModelArchiverConfig, archive_model
from torchkeeper.cli import torchkeeper
from torchkeeper.export import narrowed
from torchkeeper.export.archive import export_archive
from torchkeeper.export.program import ExportRefused
from torchkeeper.handler.exported import read_pt2
from torchkeeper.handler.helpers import import_file
from torchkeeper.handler.ports import Size
from torchkeeper.testing import run_handler

pytestmark = pytest.mark.slow

INPUT = ["--input", "x:FP32:-1,1,28,28"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The example's archive, eager."""
    return archive_model(
        ModelArchiverConfig(
            model_name="mnist",
            handler=str(EXAMPLE / "mnist_handler.py"),
            model_file=str(EXAMPLE / "mnist.py"),
            serialized_file=str(EXAMPLE / "mnist_cnn.pt"),
            export_path=str(tmp_path),
            version="3.1",
        )
    )


def test_the_new_archives_handler_answers_as_before(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torchkeeper(["export", str(archive), "--to", "pt2", *INPUT]) == 0
    assert "takes x FP32 [1..64, 1, 28, 28]" in capsys.readouterr().out
    made = open_archive(tmp_path / "mnist-pt2.mar", tmp_path / "made")
    manifest = made.manifest
    assert (manifest.model_version, manifest.model_file, manifest.serialized_file) == (
        "3.1",
        None,
        "mnist_cnn.pt2",
    )
    assert (made.model_dir / "mnist_cnn.pt").is_file(), "the archive's own handler may read it"
    pictures = [(EXAMPLE / "test_data" / f"{digit}.png").read_bytes() for digit in range(10)]
    handler = made.model_dir / "mnist_handler.py"
    found = run_handler(handler, pictures, model={"serializedFile": "mnist_cnn.pt2"})
    assert [int(reply.body) for reply in found] == list(range(10))  # type: ignore[union-attr]


def test_a_compiled_model_answers_as_before_and_what_torch_narrowed_is_said(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """AOTInductor bounds the batch of a convolution by the kernel that it chose for the exported one."""
    needs_compiler()
    assert torchkeeper(["export", str(archive), "--to", "pt2", "--compile", *INPUT]) == 0
    said = capsys.readouterr().out
    made = open_archive(tmp_path / "mnist-pt2.mar", tmp_path / "made")
    batch = read_pt2(made.model_dir / "mnist_cnn.pt2", torch.device("cpu")).batch
    assert batch is not None
    if batch.high != 64:
        assert f"larger ones are computed in parts of {batch.high}" in said
    else:
        assert "larger" not in said
    pictures = [(EXAMPLE / "test_data" / f"{digit}.png").read_bytes() for digit in range(10)] * 3
    handler = made.model_dir / "mnist_handler.py"
    found = run_handler(handler, pictures, model={"serializedFile": "mnist_cnn.pt2"})
    assert [int(reply.body) for reply in found] == list(range(10)) * 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (Size(1, 64), None),
        (Size(0, None), None),
        (Size(1, 128), None),
        (Size(2, 64), "AOTInductor narrowed the batch: smaller batches are filled up to 2"),
        (
            Size(2, 15),
            "AOTInductor narrowed the batch: smaller batches are filled up to 2, "
            "larger ones are computed in parts of 15, the best batchSize",
        ),
    ],
)
def test_what_is_said_of_a_narrowed_batch(batch: Size, said: str | None) -> None:
    assert narrowed(batch, 64) == said


def test_torchscript_and_a_name_of_ones_own(tmp_path: Path) -> None:
    net = import_file(EXAMPLE / "mnist.py").Net().eval()
    torch.jit.save(torch.jit.script(net), tmp_path / "s.pt")  # type: ignore[no-untyped-call]
    scripted = archive_model(
        ModelArchiverConfig(
            model_name="s",
            version="1.0",
            handler=str(EXAMPLE / "mnist_handler.py"),
            serialized_file=str(tmp_path / "s.pt"),
            export_path=str(tmp_path),
        )
    )
    target = tmp_path / "other.mar"
    assert torchkeeper(["export", str(scripted), "--to", "pt2", *INPUT, "--output", str(target)]) == 0
    assert open_archive(target, tmp_path / "made").manifest.serialized_file == "s.pt2"


def test_what_the_model_takes_may_stand_in_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "v2Inputs: [{name: x, datatype: FP32, shape: [-1, 1, 28, 28]}]\nbatchSize: 4\n"
    )
    archive = archive_model(
        ModelArchiverConfig(
            model_name="m",
            version="1.0",
            handler="base_handler",
            model_file=str(EXAMPLE / "mnist.py"),
            config_file=str(tmp_path / "c.yaml"),
            export_path=str(tmp_path),
        )
    )
    made = export_archive(archive, tmp_path / "n.mar", (), 16, "1700000000", compiled=False)
    assert made.batch is not None
    assert made.batch.high == 16
    assert open_archive(tmp_path / "n.mar", tmp_path / "made").manifest.serialized_file == "model.pt2"


def test_no_archive_is_written_over(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = archive.read_bytes()
    other = tmp_path / "mnist-pt2.mar"
    other.write_text("theirs")
    for arguments, target in ((["--output", str(archive)], archive), ([], other)):
        assert torchkeeper(["export", str(archive), "--to", "pt2", *INPUT, *arguments]) == 1
        assert f"{target} already exists" in capsys.readouterr().err
    assert (archive.read_bytes(), other.read_text()) == (before, "theirs")


def test_batches_of_one_from_an_archive_of_another_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = archive_model(
        ModelArchiverConfig(
            model_name="mnist.v1-a",
            version="1.0",
            handler="base_handler",
            model_file=str(EXAMPLE / "mnist.py"),
            serialized_file=str(EXAMPLE / "mnist_cnn.pt"),
            export_path=str(tmp_path),
            archive_format="tgz",
        )
    )
    assert torchkeeper(["export", str(archive), "--to", "pt2", *INPUT, "--max-batch", "1"]) == 0
    assert "takes x FP32 [1, 1, 28, 28]" in capsys.readouterr().out
    made = open_archive(tmp_path / "mnist.v1-a-pt2.mar", tmp_path / "made")
    files = {path.name for path in made.model_dir.iterdir() if path.is_file()}
    assert files == {"mnist.py", "mnist_cnn.pt2"}, "a built-in handler reads no other file"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "nobody says what the model takes"),
        (["--input", "x"], "'x' is no input"),
        (["--max-batch", "0"], "--max-batch must be at least 1"),
        (["--input", "x:FP32:-1,3,28,28"], "torch.export cannot export the model"),
        ([*INPUT, "--output", "/nowhere/m.mar"], "/nowhere/m.mar cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    archive: Path, tmp_path: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torchkeeper(["export", str(archive), "--to", "pt2", *arguments]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("torchkeeper export: error: ")
    assert text in said
    assert not (tmp_path / "mnist-pt2.mar").exists()


def test_archives_that_are_none_and_models_of_other_forms(tmp_path: Path) -> None:
    (tmp_path / "m.mar").write_bytes(b"none")
    with pytest.raises(ExportRefused, match=r"m\.mar: neither a zip file"):
        export_archive(tmp_path / "m.mar", tmp_path / "n.mar", (), 8, None, compiled=False)
    (tmp_path / "w.onnx").write_bytes(b"x")
    archive = archive_model(
        ModelArchiverConfig(
            model_name="o",
            version="1.0",
            handler="image_classifier",
            serialized_file=str(tmp_path / "w.onnx"),
            export_path=str(tmp_path),
        )
    )
    with pytest.raises(ExportRefused, match="only models with a model file, and TorchScript"):
        export_archive(archive, tmp_path / "n.mar", (), 8, None, compiled=False)
