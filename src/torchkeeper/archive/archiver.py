"""The command `torch-model-archiver`: flags, checks and messages; `archive` writes.

Source of flags, texts and the layout inside: TorchServe's model archiver 0.12. Unlike the original it names
an input that cannot be read in one line, and leaves other people's temp folders alone.
"""

from __future__ import annotations

import glob
import os
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torchkeeper.archive import mlflow_folder
from torchkeeper.archive.archive import (
    MANIFEST,
    NAME_PATTERN,
    Package,
    Progress,
    created_on,
    output_path,
    write_archive,
)
from torchkeeper.archive.flags import export_model_args_parser as export_model_args_parser
from torchkeeper.archive.manifest_draft import ManifestDraft, ModelDraft
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.settings import process_environ
from torchkeeper.wire import features, mlmodel

#: Handlers that are part of the server -> what their models take.
MODEL_HANDLERS = {
    "base_handler": "anything",
    "text_classifier": "text",
    "image_classifier": "vision",
    "object_detector": "vision",
    "image_segmenter": "vision",
    "dali_image_classifier": "vision",
    "vllm_handler": "text",
    "trt_llm_handler": "text",
}
#: The names of those handlers, by runtime; they are named, not packed.
BUILTIN_HANDLERS: dict[str, Collection[str]] = {
    "python": MODEL_HANDLERS,
    "LSP": ("BaseHandler", "TorchScriptHandler"),
}
#: Built-in handlers that TorchServe's archiver does not know: there a file of this name is meant, and here.
OURS = ("densenet_handler", "text_handler", "vision_handler", "sagemaker", "tensors", mlmodel.HANDLER)
#: Inputs above this many bytes show their progress on a terminal.
LARGE = 100 * 1024 * 1024
#: Folders that no archive needs.
SKIPPED = ("__MACOSX", "__pycache__")
_WILD = re.compile(r"[*?]|\[.*\]")


class ModelArchiverError(Exception):
    """The archive cannot be made; the text says why."""


class InputMissingError(ModelArchiverError, FileNotFoundError):
    """A file that was named is not there: an error of two kinds, for scripts that wait for either."""


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
    export_path: str | None = field(default_factory=os.getcwd)
    archive_format: str = "default"
    force: bool = False
    requirements_file: str | None = None
    config_file: str | None = None
    #: A folder of MLflow's in place of handler, version and serialized file.
    from_mlflow: str | None = None

    @classmethod
    def from_args(cls, args: Any) -> ModelArchiverConfig:
        """The flags as attributes of any object; those that it lacks have their defaults.

        Raises:
            AttributeError: it lacks one that has none.
        """
        given = {
            one.name: getattr(args, one.name)
            for one in fields(cls)
            if one.default is one.default_factory is MISSING or hasattr(args, one.name)
        }
        return cls(**given)


class ArgParser:
    """TorchServe's import name for the flags."""

    @staticmethod
    def export_model_args_parser() -> ModelArchiverConfig:
        """What the process's command line says."""
        return ModelArchiverConfig.from_args(export_model_args_parser().parse_args())


class ModelArchiver:
    """TorchServe's import name for the archiver."""

    @staticmethod
    def generate_model_archive(config: ModelArchiverConfig) -> None:
        """Makes the archive that `config` describes; raises ModelArchiverError."""
        archive_model(config)


def generate_model_archive(config: ModelArchiverConfig | None = None) -> None:
    """Makes an archive from a config, or from the process's command line; raises ModelArchiverError."""
    archive_model(ArgParser.export_model_args_parser() if config is None else config)


def archive_model(config: ModelArchiverConfig) -> Path:
    """Makes the archive; returns where it is.

    Raises:
        ModelArchiverError: one clear text; nothing was written.
    """
    if config.from_mlflow is None:
        return _packed(config, _drafted(config))
    with tempfile.TemporaryDirectory(prefix="torchkeeper-archiver-") as scratch:
        config = _of_mlflow(config, config.from_mlflow, Path(scratch))
        return _packed(config, _drafted(config))


def _drafted(config: ModelArchiverConfig) -> str:
    try:
        return draft_manifest(config)
    except ValueError as error:
        raise ModelArchiverError(str(error)) from None


def _of_mlflow(config: ModelArchiverConfig, text: str, scratch: Path) -> ModelArchiverConfig:
    """The config with the files of MLflow's folder, some of them made or linked in `scratch`."""
    for flag, given in (
        ("--serialized-file", config.serialized_file),
        ("--model-file", config.model_file),
        ("--runtime LSP", config.runtime == "LSP"),
    ):
        if given:
            raise ModelArchiverError(
                f"{flag} and --from-mlflow exclude each other: the model is in its folder"
            )
    listed = config.requirements_file
    own = _readable(listed, "--requirements-file") if listed else None
    try:
        folder = mlflow_folder.open_folder(text)
        top, requirements = mlflow_folder.stage(folder, scratch, own)
    except (ValueError, OSError) as error:
        raise ModelArchiverError(str(error)) from None
    return replace(
        config,
        handler=config.handler or mlmodel.HANDLER,
        version=config.version or "1.0",
        serialized_file=str(folder.serialized),
        extra_files=",".join(filter(None, (str(top), config.extra_files))),
        requirements_file=str(requirements) if requirements else None,
    )


def draft_manifest(config: Any) -> str:
    """The text of the MANIFEST.json that belongs to a config; its files need not exist yet.

    Raises:
        ValueError: the runtime, or the time in SOURCE_DATE_EPOCH, is none.
    """
    given = ModelArchiverConfig.from_args(config)
    return str(ManifestDraft(given.runtime, draft_model(given)))


def draft_model(config: ModelArchiverConfig) -> ModelDraft:
    """The manifest's object `model` that belongs to a config."""
    return ModelDraft(
        config.model_name,
        config.serialized_file,
        config.handler,
        config.model_file,
        config.version,
        None,
        config.requirements_file,
        config.config_file,
    )


def package_model(config: Any, manifest: str) -> None:
    """Makes the archive of a config whose manifest was written by the caller; raises ModelArchiverError."""
    _packed(ModelArchiverConfig.from_args(config), manifest)


def check_inputs(model_name: str, export_path: str | None) -> None:
    """Raises ModelArchiverError unless the name may be a model's and the folder is there."""
    check_model_name(model_name)
    if not Path(export_path or ".").is_dir():
        raise ModelArchiverError(
            f"Given export-path {export_path} is not a directory. Point to a valid export-path directory."
        )


def check_model_name(model_name: str) -> None:
    """Raises ModelArchiverError unless the name may be a model's."""
    if not re.fullmatch(NAME_PATTERN, model_name):
        raise ModelArchiverError(
            "Model name contains special characters.\n"
            f"The allowed regular expression filter for model name is: {NAME_PATTERN}"
        )


def free_target(config: ModelArchiverConfig) -> Path:
    """Where the archive goes; an existing one is in the way, unless it may be overwritten."""
    folder = Path(config.export_path) if config.export_path else Path.cwd()
    target = output_path(config.model_name, folder, config.archive_format)
    if target.exists():
        if not config.force:
            raise ModelArchiverError(
                f"{target} already exists.\n"
                "Please specify --force/-f option to overwrite the model archive output file.\n"
                "See -h/--help for more details."
            )
        print(f"WARNING - Overwriting {target} ...", file=sys.stderr)
    return target


def _packed(config: ModelArchiverConfig, manifest: str) -> Path:
    check_inputs(config.model_name, config.export_path)
    target = free_target(config)
    files = collect_files(config)
    for sentence in _missing(config):
        print(f"WARNING - {sentence}", file=sys.stderr)
    try:
        moment = created_on(process_environ().get("SOURCE_DATE_EPOCH"))
    except ValueError as error:
        raise ModelArchiverError(str(error)) from None
    package = Package(config.model_name, manifest, files)
    try:
        with _progress(files) as progress:
            return write_archive(package, target, config.archive_format, moment, progress)
    except OSError as error:
        raise ModelArchiverError(f"{error.filename or target}: {error.strerror or error}") from None


def collect_files(config: ModelArchiverConfig) -> dict[str, Path]:
    """What goes into the archive, by the names inside.

    Raises:
        ModelArchiverError: something is not there, cannot be read, or has another file's name.
    """
    files: dict[str, Path] = {}

    def add(path: Path, name: str) -> None:
        taken = files.setdefault(name, path)
        if not path.samefile(taken):
            raise ModelArchiverError(
                f"{path} and {taken} would have the same name in the archive; rename one"
            )

    for text, flag in (
        (config.serialized_file, "--serialized-file"),
        (_handler_file(config), "--handler"),
        (config.model_file, "--model-file"),
        (config.requirements_file, "--requirements-file"),
        (config.config_file, "--config-file"),
    ):
        if text:
            path = _readable(text, flag)
            add(path, path.name)
    for name, path in _extra_files(config.extra_files):
        if name != MANIFEST:  # of an archive that was unpacked there
            add(path, name)
    return files


def _missing(config: ModelArchiverConfig) -> list[str]:
    """For what torchkeeper will refuse the archive: it is made all the same, for TorchServe."""
    asked = [features.missing_runtime(config.runtime)]
    refused: tuple[str, ...] = ()
    if config.config_file:
        text = Path(config.config_file).read_text(encoding="utf-8", errors="replace")
        given, _ = parse_model_config(text, "model-config.yaml")
        asked += features.missing_in_config(given.raw)
        refused = given.refused
    if config.handler in BUILTIN_HANDLERS["python"]:
        asked.append(features.missing_handler(config.handler))
    return [*(one.sentence for one in asked if one is not None), *refused]


def _handler_file(config: ModelArchiverConfig) -> str | None:
    """The handler's own file; None for a handler that is part of the server."""
    path, _, function = config.handler.partition(":")
    if path in BUILTIN_HANDLERS["LSP" if config.runtime == "LSP" else "python"] and not function:
        return None
    if path in OURS and not function and (config.from_mlflow or not Path(f"{path}.py").exists()):
        return None
    return path if path.endswith(".py") else f"{path}.py"


def _readable(text: str, flag: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise InputMissingError(f"{flag}: File does not exist: {text}")
    if not path.is_file():
        raise ModelArchiverError(f"{flag}: not a file: {text}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ModelArchiverError(f"{flag}: cannot be read: {text}: {error.strerror}") from None
    return path


def _extra_files(text: str | None) -> Iterator[tuple[str, Path]]:
    """The files that a list of paths, folders and patterns names, with their names in the archive."""
    for part in (text or "").split(","):
        pattern = part.strip()
        if not pattern:
            continue
        if Path(pattern).exists():
            matches = [pattern]
        elif _WILD.search(pattern):
            matches = sorted(glob.glob(pattern))
            if not matches:
                print(f"WARNING - --extra-files: no file matches {pattern}", file=sys.stderr)
        else:
            raise InputMissingError(f"File does not exist: {pattern}")
        for match in matches:
            if Path(match).is_dir():
                yield from inside(Path(match))
            else:
                yield Path(match).name, _readable(match, "--extra-files")


def inside(folder: Path) -> Iterator[tuple[str, Path]]:
    """A folder's files by their names below it; folders that are hidden or hold litter are left out.

    Raises:
        ModelArchiverError: a file cannot be read, or a link leads back to a folder that holds it.
    """
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        here = Path(root).resolve()
        for path in (Path(root, name) for name in folders):
            if path.is_symlink() and path.resolve() in (here, *here.parents):
                raise ModelArchiverError(f"--extra-files: {path} leads back to a folder that holds it")
        for name in sorted(files):
            path = Path(root, name)
            yield path.relative_to(folder).as_posix(), _readable(str(path), "--extra-files")


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
    return _reported(ModelArchiverConfig.from_args(arguments))


def _reported(config: ModelArchiverConfig) -> int:
    try:
        archive_model(config)
    except ModelArchiverError as error:
        print(f"ERROR - {error}", file=sys.stderr)
        return 1
    return 0
