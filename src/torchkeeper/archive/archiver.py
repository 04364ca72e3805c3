"""The command `torch-model-archiver`: flags, checks and messages; `archive` writes.

Source of flags, texts and the layout inside: TorchServe's model archiver 0.12. Unlike the original it names
an input that cannot be read in one line, and leaves other people's temp folders alone.
"""

from __future__ import annotations

import argparse
import glob
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchkeeper.archive.archive import (
    FORMATS,
    NAME_PATTERN,
    Package,
    Progress,
    created_on,
    make_manifest,
    output_path,
    write_archive,
)
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.settings import process_environ
from torchkeeper.wire import features

#: Handlers that are part of the server, by runtime; they are named, not packed.
BUILTIN_HANDLERS = {
    "python": (
        "base_handler",
        "text_classifier",
        "image_classifier",
        "object_detector",
        "image_segmenter",
        "dali_image_classifier",
        "vllm_handler",
        "trt_llm_handler",
    ),
    "LSP": ("BaseHandler", "TorchScriptHandler"),
}
RUNTIMES = ("python", "python3", "LSP")
#: Inputs above this many bytes show their progress on a terminal.
LARGE = 100 * 1024 * 1024
_SKIPPED = ("__MACOSX", "__pycache__")


class ModelArchiverError(Exception):
    """The archive cannot be made; the text says why."""


@dataclass
class ModelArchiverConfig:
    """The archiver's flags, for use from Python."""

    model_name: str
    handler: str
    version: str
    serialized_file: str | None = None
    model_file: str | None = None
    extra_files: str | None = None
    runtime: str = "python"
    export_path: str | None = None
    archive_format: str = "default"
    force: bool = False
    requirements_file: str | None = None
    config_file: str | None = None


def export_model_args_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(prog="torch-model-archiver", description="Torch Model Archiver Tool")
    parser.add_argument(
        "--model-name",
        required=True,
        help="Exported model name. Exported file will be named as model-name.mar",
    )
    parser.add_argument("-v", "--version", required=True, help="Model's version.")
    parser.add_argument("--handler", required=True, help="Handler path, or name of a built-in handler")
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
    parser.add_argument("--export-path", help="Folder where the archive will be saved (default: here)")
    parser.add_argument(
        "--archive-format", default="default", choices=FORMATS, help="The format of the archive"
    )
    parser.add_argument("-f", "--force", action="store_true", help="Overwrite an existing archive")
    parser.add_argument(
        "-r", "--requirements-file", help="Path to a requirements.txt with the model's packages"
    )
    parser.add_argument("-c", "--config-file", help="Path to a model-config.yaml")
    return parser


class ArgParser:
    """TorchServe's import name for the flags."""

    export_model_args_parser = staticmethod(export_model_args_parser)


class ModelArchiver:
    """TorchServe's import name for the archiver."""

    @staticmethod
    def generate_model_archive(config: ModelArchiverConfig) -> None:
        """Makes the archive that `config` describes; raises ModelArchiverError."""
        archive_model(config)


def generate_model_archive(config: ModelArchiverConfig | None = None) -> None:
    """Makes an archive from a config, or from the process's command line; errors leave with exit code 1."""
    code = torch_model_archiver() if config is None else _reported(config)
    if code:
        sys.exit(code)


def archive_model(config: ModelArchiverConfig) -> Path:
    """Makes the archive; returns where it is.

    Raises:
        ModelArchiverError: one clear text; nothing was written.
    """
    folder = Path(config.export_path) if config.export_path else Path.cwd()
    if not re.match(NAME_PATTERN, config.model_name):
        raise ModelArchiverError(
            "Model name contains special characters.\n"
            f"The allowed regular expression filter for model name is: {NAME_PATTERN}"
        )
    if not folder.is_dir():
        raise ModelArchiverError(
            f"Given export-path {config.export_path} is not a directory. "
            "Point to a valid export-path directory."
        )
    target = output_path(config.model_name, folder, config.archive_format)
    if target.exists():
        if not config.force:
            raise ModelArchiverError(
                f"{target} already exists.\n"
                "Please specify --force/-f option to overwrite the model archive output file.\n"
                "See -h/--help for more details."
            )
        print(f"WARNING - Overwriting {target} ...", file=sys.stderr)
    files, model = _collect(config)
    for sentence in _missing(config, model["handler"]):
        print(f"WARNING - {sentence}", file=sys.stderr)
    try:
        moment = created_on(process_environ().get("SOURCE_DATE_EPOCH"))
    except ValueError as error:
        raise ModelArchiverError(str(error)) from None
    package = Package(config.model_name, make_manifest(model, config.runtime, moment), files)
    try:
        with _progress(files) as progress:
            return write_archive(package, target, config.archive_format, moment, progress)
    except OSError as error:
        raise ModelArchiverError(f"{error.filename or target}: {error.strerror or error}") from None


def _collect(config: ModelArchiverConfig) -> tuple[dict[str, Path], dict[str, str]]:
    """The files by their names inside, and the manifest's `model` object."""
    files: dict[str, Path] = {}
    model = {"modelName": config.model_name}

    def add(path: Path) -> str:
        taken = files.setdefault(path.name, path)
        if not path.samefile(taken):
            raise ModelArchiverError(
                f"{path} and {taken} would have the same name in the archive; rename one"
            )
        return path.name

    if config.serialized_file:
        model["serializedFile"] = add(_readable(config.serialized_file, "--serialized-file"))
    model["handler"] = _handler(config, add)
    if config.model_file:
        model["modelFile"] = add(_readable(config.model_file, "--model-file"))
    model["modelVersion"] = config.version
    for path in _extra_files(config.extra_files):
        add(path)
    if config.requirements_file:
        model["requirementsFile"] = add(_readable(config.requirements_file, "--requirements-file"))
    if config.config_file:
        model["configFile"] = add(_readable(config.config_file, "--config-file"))
    return files, model


def _missing(config: ModelArchiverConfig, handler: str) -> list[str]:
    """What the archive asks for and torchkeeper does not have: it is made all the same, for TorchServe."""
    asked = [features.missing_runtime(config.runtime)]
    if config.config_file:
        text = Path(config.config_file).read_text(encoding="utf-8", errors="replace")
        asked += features.missing_in_config(parse_model_config(text, config.config_file)[0].raw)
    if handler in BUILTIN_HANDLERS["python"]:
        asked.append(features.missing_handler(handler))
    return [one.sentence for one in asked if one is not None]


def _handler(config: ModelArchiverConfig, add: Callable[[Path], str]) -> str:
    """What the manifest says of the handler; a file of the user's is added to the archive."""
    path, _, function = config.handler.partition(":")
    if path in BUILTIN_HANDLERS["LSP" if config.runtime == "LSP" else "python"] and not function:
        return path
    file = _readable(path if path.endswith(".py") else f"{path}.py", "--handler")
    add(file)
    name = file.name if path.endswith(".py") and not function else file.stem
    return f"{name}:{function}" if function else name


def _readable(text: str, flag: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise ModelArchiverError(f"{flag}: File does not exist: {text}")
    if not path.is_file():
        raise ModelArchiverError(f"{flag}: not a file: {text}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ModelArchiverError(f"{flag}: cannot be read: {text}: {error.strerror}") from None
    return path


def _extra_files(text: str | None) -> list[Path]:
    found: list[Path] = []
    for part in (text or "").split(","):
        pattern = part.strip()
        if not pattern:
            continue
        matches = sorted(glob.glob(pattern)) if any(letter in pattern for letter in "*?[]") else [pattern]
        if not matches or not all(Path(match).exists() for match in matches):
            raise ModelArchiverError(f"File does not exist: {pattern}")
        for match in map(Path, matches):
            found += _inside(match) if match.is_dir() else [_readable(str(match), "--extra-files")]
    return found


def _inside(folder: Path) -> list[Path]:
    """A folder's files, one level down, as the archiver has always flattened them."""
    return [
        _readable(str(path), "--extra-files")
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in _SKIPPED and not path.name.startswith(".")
    ]


class _progress:
    """A progress bar for large inputs on a terminal; otherwise nothing."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._sizes = {name: path.stat().st_size for name, path in files.items()}
        self._bar: object = None

    def __enter__(self) -> Progress | None:
        total = sum(self._sizes.values())
        if max(self._sizes.values(), default=0) <= LARGE or not sys.stderr.isatty():
            return None
        from rich.console import Console
        from rich.progress import Progress as Bar

        bar = Bar(console=Console(stderr=True))
        self._bar = bar
        bar.start()
        task = bar.add_task("archiving", total=total)
        return lambda name, count: bar.update(task, advance=count, description=name)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()  # type: ignore[attr-defined]  # a rich Progress, imported only where it is shown


def torch_model_archiver(argv: Sequence[str] | None = None) -> int:
    """The `torch-model-archiver` command; returns its exit code."""
    arguments = export_model_args_parser().parse_args(argv)
    return _reported(ModelArchiverConfig(**vars(arguments)))


def _reported(config: ModelArchiverConfig) -> int:
    try:
        archive_model(config)
    except ModelArchiverError as error:
        print(f"ERROR - {error}", file=sys.stderr)
        return 1
    return 0
