"""The archiver's flags: those of MLflow's folder stand in for others."""

from __future__ import annotations

import pytest

from torchkeeper.archive.flags import export_model_args_parser


def test_with_mlflows_folder_handler_and_version_need_not_be_given() -> None:
    found = export_model_args_parser().parse_args(["--model-name", "m", "--from-mlflow", "saved"])
    assert (found.from_mlflow, found.handler, found.version) == ("saved", None, None)
    given = ["--from-mlflow=saved", "--model-name", "m", "-v", "2", "--handler", "h.py"]
    found = export_model_args_parser().parse_args(given)
    assert (found.handler, found.version) == ("h.py", "2")


def test_without_it_they_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export_model_args_parser().parse_args(["--model-name", "m"])
    assert "required: -v/--version, --handler" in capsys.readouterr().err
