"""The text of an archive's MANIFEST.json, from what the archiver is told: names only, no file is opened.

Source of keys and their order: TorchServe's model archiver, whose `Manifest` and `Model` these stand for.
"""

from __future__ import annotations

import enum
import json
import posixpath
from typing import Any

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.archive.archive import created_on
from torchkeeper.config.settings import process_environ


class RuntimeType(enum.Enum):
    """What a model may run on."""

    PYTHON = "python"
    PYTHON3 = "python3"
    LSP = "LSP"


class ModelDraft:
    """The manifest's object `model`.

    Args:
        model_name: name of the model.
        serialized_file: path of the weights; like every path here it is named without its folder.
        handler: name of a built-in handler, or path of a file with `:function` after it if wanted.
        model_file: path of the model's source.
        model_version: version of the model.
        extensions: anything JSON can hold, passed on.
        requirements_file: path of the requirements.
        config_file: path of the model-config.yaml.
    """

    def __init__(
        self,
        model_name: str,
        serialized_file: str | None,
        handler: str,
        model_file: str | None = None,
        model_version: str | None = None,
        extensions: Any = None,
        requirements_file: str | None = None,
        config_file: str | None = None,
    ) -> None:
        self.model_name = model_name
        self.serialized_file = _name(serialized_file)
        self.handler = handler_name(handler)
        self.model_file = _name(model_file)
        self.model_version = model_version
        self.extensions = extensions
        self.requirements_file = _name(requirements_file)
        self.config_file = _name(config_file)
        self.model_dict = self.__to_dict__()

    def __to_dict__(self) -> dict[str, Any]:
        given = {
            "serializedFile": self.serialized_file,
            "handler": self.handler,
            "modelFile": self.model_file,
            "modelVersion": self.model_version,
            "extensions": self.extensions,
            "requirementsFile": self.requirements_file,
            "configFile": self.config_file,
        }
        return {"modelName": self.model_name} | {key: value for key, value in given.items() if value}

    def __str__(self) -> str:
        return json.dumps(self.model_dict)

    __repr__ = __str__


class ManifestDraft:
    """A whole manifest; its `str` is the file's text.

    Args:
        runtime: one of RuntimeType's values.
        model: the object `model`.

    Raises:
        ValueError: there is no such runtime, or SOURCE_DATE_EPOCH is no time.
    """

    def __init__(self, runtime: str, model: ModelDraft) -> None:
        moment = created_on(process_environ().get("SOURCE_DATE_EPOCH"))
        self.creation_time = moment.strftime("%d/%m/%Y %H:%M:%S")
        self.runtime = RuntimeType(runtime)
        self.model = model
        self.archiver_version = TORCHSERVE_VERSION
        self.manifest_dict = self.__to_dict__()

    def __to_dict__(self) -> dict[str, Any]:
        return {
            "createdOn": self.creation_time,
            "runtime": self.runtime.value,
            "model": self.model.model_dict,
            "archiverVersion": self.archiver_version,
        }

    def __str__(self) -> str:
        return json.dumps(self.manifest_dict, indent=2)

    __repr__ = __str__


def handler_name(handler: str) -> str:
    """What a manifest calls a handler: without folder, and without `.py` where a function is named."""
    path, _, function = handler.partition(":")
    name = posixpath.basename(path)
    return f"{name.removesuffix('.py')}:{function}" if function else name


def _name(path: str | None) -> str | None:
    return posixpath.basename(path) if path else None
