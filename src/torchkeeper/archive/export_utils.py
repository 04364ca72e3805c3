"""The archiver's steps one by one, under the names by which export scripts call them.

Source of names and parameters: TorchServe's `ModelExportUtils`. Unlike it, `copy_artifacts` makes a folder of
its own and removes nobody's.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchkeeper.archive.archive import MANIFEST, Package, created_on, output_path, write_archive
from torchkeeper.archive.archiver import (
    ModelArchiverConfig,
    ModelArchiverError,
    check_inputs,
    check_model_name,
    collect_files,
    draft_manifest,
    draft_model,
    free_target,
    inside,
)
from torchkeeper.archive.manifest_draft import ModelDraft
from torchkeeper.config.settings import process_environ

MAR_INF, MANIFEST_FILE_NAME = MANIFEST.split("/")
#: Versions of forms that never changed.
MODEL_SERVER_VERSION = MODEL_ARCHIVE_VERSION = "1.0"


class ModelExportUtils:
    """The archiver's steps."""

    @staticmethod
    def get_archive_export_path(export_file_path: str, model_name: str, archive_format: str) -> str:
        """Where an archive of that format goes."""
        return str(output_path(model_name, Path(export_file_path), archive_format))

    @staticmethod
    def check_mar_already_exists(
        model_name: str, export_file_path: str | None, overwrite: bool, archive_format: str = "default"
    ) -> str:
        """The folder for the archive; raises ModelArchiverError when an archive is in the way."""
        folder = str(Path.cwd()) if export_file_path is None else export_file_path
        free_target(_config(model_name, export_path=folder, force=overwrite, archive_format=archive_format))
        return folder

    @staticmethod
    def find_unique(files: Iterable[str], suffix: str) -> str | None:
        """The only file that ends so, None without one; raises ModelArchiverError when there are several."""
        found = [file for file in files if file.endswith(suffix)]
        if len(found) > 1:
            raise ModelArchiverError(f"one {suffix} file is expected, there are {len(found)}: {found}")
        return found[0] if found else None

    @staticmethod
    def generate_model(modelcfg: Any) -> ModelDraft:
        """The manifest's object `model`."""
        return draft_model(ModelArchiverConfig.from_args(modelcfg))

    @staticmethod
    def generate_manifest_json(config: Any) -> str:
        """The manifest's text."""
        return draft_manifest(config)

    @staticmethod
    def clean_temp_files(temp_files: Iterable[str]) -> None:
        """Removes files."""
        for file in temp_files:
            Path(file).unlink()

    @staticmethod
    def make_dir(d: str) -> None:
        """Makes a folder unless it is there."""
        Path(d).mkdir(parents=True, exist_ok=True)

    @staticmethod
    def copy_artifacts(model_name: str, runtime: str, **kwargs: str | None) -> str:
        """Copies a model's files into a new folder of that name; the caller removes it.

        Args:
            kwargs: paths by kind: model_file, serialized_file, handler, extra_files, requirements_file and
                config_file (hyphens will do).
        """
        paths = {kind.replace("-", "_"): path for kind, path in kwargs.items()}
        config = _config(model_name, runtime=runtime, **{kind: path for kind, path in paths.items() if path})
        folder = Path(tempfile.mkdtemp(), model_name)
        for name, path in collect_files(config).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
        folder.mkdir(exist_ok=True)
        return str(folder)

    @staticmethod
    def archive(
        export_file: str, model_name: str, model_path: str, manifest: str, archive_format: str = "default"
    ) -> None:
        """Makes an archive in the folder `export_file` of all that lies in the folder `model_path`."""
        target = output_path(model_name, Path(export_file), archive_format)
        package = Package(model_name, manifest, dict(inside(Path(model_path))))
        moment = created_on(process_environ().get("SOURCE_DATE_EPOCH"))
        write_archive(package, target, archive_format, moment)

    @staticmethod
    def archive_dir(path: str, dst: Any, archive_format: str, model_name: str) -> None:
        """Adds a folder's files to an open tar file or zip file, or copies them to another folder."""
        for name, file in inside(Path(path)):
            if isinstance(dst, tarfile.TarFile):
                dst.add(file, f"{model_name}/{name}")
            elif isinstance(dst, zipfile.ZipFile):
                dst.write(file, name)
            else:
                Path(dst, name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, Path(dst, name))

    @staticmethod
    def directory_filter(directory: str, unwanted_dirs: Iterable[str]) -> bool:
        """Whether a folder of that name goes into an archive."""
        return directory not in unwanted_dirs and not directory.startswith(".")

    @staticmethod
    def file_filter(current_file: str, files_to_exclude: set[str]) -> bool:
        """Whether a file of that name is no manifest, no litter, no archive and none of those."""
        return current_file not in {"MANIFEST.json", *files_to_exclude} and not current_file.endswith(
            (".pyc", ".DS_Store", ".mar")
        )

    @staticmethod
    def check_model_name_regex_or_exit(model_name: str) -> None:
        """Raises ModelArchiverError unless the name may be a model's."""
        check_model_name(model_name)

    @staticmethod
    def validate_inputs(model_name: str, export_path: str | None) -> None:
        """Raises ModelArchiverError unless the name may be a model's and the folder is there."""
        check_inputs(model_name, export_path)


def _config(model_name: str, **fields: Any) -> ModelArchiverConfig:
    """A config of what matters for one step."""
    needed = {"model_name": model_name, "handler": "base_handler", "version": "1.0"}
    return ModelArchiverConfig(**(needed | fields))
