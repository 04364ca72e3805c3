"""What is what in a model folder of SageMaker's, for the handler that serves it and for the doctor.

Pure but for looking at names, and without torch. Source: SageMaker's inference toolkits.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

#: The script, if SAGEMAKER_PROGRAM names no other.
SCRIPT = "inference.py"
#: Where it is in the model's folder; those of old containers lie beside the weights.
_PLACES = ("code", ".")
_WEIGHTS = "model.pt"


def script_in(folder: Path, name: str = SCRIPT) -> Path | None:
    """The script of that name; None where there is none."""
    paths = (folder / place / name for place in _PLACES)
    return next((path for path in paths if path.is_file()), None)


def check_functions(name: str, defined: Collection[str]) -> None:
    """Says what a script defines that contradicts itself.

    Raises:
        ValueError: it defines transform_fn and what that stands for.
    """
    replaced = [one for one in ("input_fn", "predict_fn", "output_fn") if one in defined]
    if replaced and "transform_fn" in defined:
        raise ValueError(
            f"{name} defines transform_fn and {replaced[0]}: transform_fn stands for all of input_fn, "
            "predict_fn and output_fn"
        )


def weights_in(folder: Path, script: str = SCRIPT) -> Path:
    """The TorchScript file of a folder whose script has no model_fn.

    Raises:
        ValueError: there is no model.pt, and not exactly one other such file.
    """
    path = folder / _WEIGHTS
    if path.is_file():
        return path
    found = sorted(each for each in folder.iterdir() if each.suffix in (".pt", ".pth"))
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "none"
        raise ValueError(
            f"{script} defines no model_fn, so the folder must have {_WEIGHTS} or exactly one .pt or .pth "
            f"file (TorchScript): it has {names}"
        )
    return found[0]
