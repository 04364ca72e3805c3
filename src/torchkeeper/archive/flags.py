"""The flags of `torch-model-archiver`. Source of names, order and texts: TorchServe's model archiver 0.12."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from torchkeeper.archive.archive import FORMATS
from torchkeeper.archive.manifest_draft import RuntimeType
from torchkeeper.config.whole_flags import TorchServeParser

RUNTIMES = tuple(runtime.value for runtime in RuntimeType)


class _InPlaceOf(argparse.Action):
    """Stores its value; with it, other flags need not be given."""

    def __init__(self, option_strings: Sequence[str], *, others: Sequence[argparse.Action], **kwargs: Any):
        super().__init__(option_strings, **kwargs)
        self._others = others

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any
    ) -> None:
        setattr(namespace, self.dest, values)
        for other in self._others:
            other.required = False


def export_model_args_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = TorchServeParser(
        prog="torch-model-archiver", description="Torch Model Archiver Tool", more=("--from-mlflow",)
    )
    parser.add_argument(
        "--model-name",
        required=True,
        help="Exported model name. Exported file will be named as model-name.mar",
    )
    dispensable = [
        parser.add_argument("-v", "--version", required=True, help="Model's version."),
        parser.add_argument("--handler", required=True, help="Handler path, or name of a built-in handler"),
    ]
    parser.add_argument(
        "--serialized-file", help="Path to .pt or .pth file with the model's weights or TorchScript"
    )
    parser.add_argument(
        "--model-file", help="Path to python file with the model's architecture (exactly one class)"
    )
    parser.add_argument(
        "--extra-files", help="Comma separated paths of extra files; globs and folders are fine"
    )
    parser.add_argument("--runtime", default="python", choices=RUNTIMES, help="The model's runtime")
    parser.add_argument(
        "--export-path",
        default=argparse.SUPPRESS,
        help="Folder where the archive will be saved (default: here)",
    )
    parser.add_argument(
        "--archive-format", default="default", choices=FORMATS, help="The format of the archive"
    )
    parser.add_argument("-f", "--force", action="store_true", help="Overwrite an existing archive")
    parser.add_argument(
        "-r", "--requirements-file", help="Path to a requirements.txt with the model's packages"
    )
    parser.add_argument("-c", "--config-file", help="Path to a model-config.yaml")
    parser.add_argument(
        "--from-mlflow",
        metavar="FOLDER",
        action=_InPlaceOf,
        others=dispensable,
        help="Folder of a PyTorch model that MLflow saved, in place of handler, version and serialized file",
    )
    return parser
