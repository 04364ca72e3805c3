"""A model folder of SageMaker's: which script, which weights, and what contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.handler.sagemaker_folder import check_functions, script_in, weights_in


def test_the_script_is_in_code_or_beside_the_weights(tmp_path: Path) -> None:
    assert script_in(tmp_path) is None
    (tmp_path / "inference.py").write_text("")
    assert script_in(tmp_path) == tmp_path / "inference.py"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("")
    assert script_in(tmp_path) == tmp_path / "code" / "inference.py"
    assert script_in(tmp_path, "entry.py") is None


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["model.pt"], "model.pt"),
        (["model.pt", "other.pt"], "model.pt"),
        (["net.pth"], "net.pth"),
        (["a.pt", "b.pth"], None),
        (["weights.bin"], None),
    ],
)
def test_the_weights(tmp_path: Path, files: list[str], found: str | None) -> None:
    for name in files:
        (tmp_path / name).touch()
    if found is not None:
        assert weights_in(tmp_path).name == found
        return
    with pytest.raises(ValueError, match=r"must have model\.pt or exactly one"):
        weights_in(tmp_path)


def test_what_contradicts_itself() -> None:
    check_functions("inference.py", {"model_fn", "transform_fn"})
    check_functions("inference.py", {"model_fn", "input_fn", "output_fn"})
    with pytest.raises(ValueError, match="defines transform_fn and predict_fn"):
        check_functions("inference.py", {"transform_fn", "predict_fn"})
