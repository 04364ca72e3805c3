"""The functions of a SageMaker inference script as a handler: `model_fn`, `predict_fn` and so on.

A script is `code/inference.py` in the model's folder, or what SAGEMAKER_PROGRAM names. What it does not
define is done as SageMaker's PyTorch toolkit does it: the folder's one TorchScript file, arrays as JSON, CSV
or NPY. Each request is asked for alone, and fails alone. Source: sagemaker-inference's Transformer and
sagemaker-pytorch-inference's defaults.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from torchkeeper.handler import array_body
from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import PredictionException
from torchkeeper.handler.helpers import import_file
from torchkeeper.handler.safe_text import safe_str
from torchkeeper.handler.sagemaker_folder import SCRIPT, check_functions, script_in, weights_in
from torchkeeper.handler.weights import read_torchscript


class SageMakerHandler:
    """A model folder with an inference script, or with TorchScript alone."""

    def __init__(self) -> None:
        self.model: Any = None
        self._script: ModuleType | None = None
        self._context: Context | None = None
        self._device = torch.device("cpu")

    def initialize(self, context: Context) -> None:
        """Loads the script and its model.

        Raises:
            ValueError: it defines transform_fn and what that replaces, or not one model file is there.
        """
        folder = Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")
        if gpu is not None and torch.cuda.is_available():
            self._device = torch.device(f"cuda:{gpu}")
        self._context = context
        self._script = _script(folder)
        check_functions(_name(), vars(self._script) if self._script is not None else ())
        place = str(folder)
        if before := self._own("pre_model_fn"):
            self._call(before, place)
        self.model = self._call(self._own("model_fn") or self._model, place)
        if warm_up := self._own("model_warmup_fn"):
            self._call(warm_up, place, self.model)

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[Any]:
        """One body per request; a PredictionException for one that failed."""
        answers: list[Any] = []
        for place, row in enumerate(data):
            with _alone(context, place):
                try:
                    answers.append(self._answer(row, context))
                except PredictionException as refusal:
                    answers.append(refusal)
                except array_body.Unsupported as unknown:
                    answers.append(PredictionException(str(unknown), 415))
                except Exception as error:  # noqa: BLE001 - the script is the user's
                    traceback.print_exc()
                    answers.append(
                        PredictionException(f"{type(error).__name__}: {safe_str(error, 500)}", 500)
                    )
        return answers

    def _answer(self, row: dict[str, Any], context: Context) -> Any:
        content_type = array_body.plain(context.get_request_header(0, "content-type") or array_body.JSON)
        accept = context.get_request_header(0, "accept")
        if not isinstance(accept, str) or accept in (
            "",
            "*/*",
        ):  # a parameter of that name has its type there
            accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or array_body.JSON
        body = next((row[name] for name in ("body", "data") if name in row), b"")
        if content_type in array_body.TEXTS and isinstance(body, bytearray):
            try:
                body = body.decode()
            except UnicodeDecodeError:
                raise PredictionException(
                    f"The body is no UTF-8, which {content_type} must be.", 400
                ) from None
        answer = self._transform(body, content_type, accept)
        if isinstance(answer, tuple):
            answer, content_type = answer
        else:
            content_type = accept.partition(",")[0].strip()
        context.set_response_content_type(0, content_type)
        return answer

    def _transform(self, body: Any, content_type: str, accept: str) -> Any:
        if transform := self._own("transform_fn"):
            return self._call(transform, self.model, body, content_type, accept)
        read, predict = self._own("input_fn") or self._read, self._own("predict_fn") or self._predict
        given = self._call(read, body, content_type)
        return self._call(
            self._own("output_fn") or self._write, self._call(predict, given, self.model), accept
        )

    def _own(self, name: str) -> Callable[..., Any] | None:
        return getattr(self._script, name, None)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function with the context behind its arguments, if it takes one more.

        Raises:
            TypeError: it takes neither so many arguments nor one more.
        """
        takes = _takes(function)
        if takes == len(arguments) + 1:
            arguments = (*arguments, self._context)
        elif takes != len(arguments):
            name = getattr(function, "__name__", "a function")
            raise TypeError(
                f"{name} takes {takes} arguments, it must take {len(arguments)}, or the context too"
            )
        return function(*arguments)

    # --- what a script does not define -------------------------------------------------------------------

    def _model(self, model_dir: str) -> Any:
        return read_torchscript(weights_in(Path(model_dir), _name()), self._device).eval()

    def _read(self, body: Any, content_type: str) -> torch.Tensor:
        try:
            array = array_body.decoded(body, content_type)
            # Numbers in text are float32, as the toolkit makes them.
            tensor = torch.from_numpy(array.astype(np.float32) if content_type in array_body.TEXTS else array)
        except array_body.Unsupported:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise PredictionException(
                f"The body is no array as {content_type}: {safe_str(error, 200)}", 400
            ) from None
        return tensor.to(self._device)

    def _predict(self, data: Any, model: Any) -> Any:
        with torch.inference_mode():
            return model(data)

    def _write(self, prediction: Any, accept: str) -> tuple[bytes, str]:
        if isinstance(prediction, torch.Tensor):
            prediction = prediction.detach().cpu().numpy()
        return array_body.encoded(prediction, accept)


@functools.lru_cache(maxsize=64)
def _takes(function: Callable[..., Any]) -> int:
    return len(inspect.signature(function).parameters)


def _name() -> str:
    return os.environ.get("SAGEMAKER_PROGRAM") or SCRIPT


def _script(folder: Path) -> ModuleType | None:
    """The script's module, its folder on the import path; None where there is none.

    Raises:
        FileNotFoundError: SAGEMAKER_PROGRAM names one that is not there.
    """
    path = script_in(folder, _name())
    if path is not None:
        sys.path.insert(0, str(path.parent.resolve()))
        return import_file(path)
    if os.environ.get("SAGEMAKER_PROGRAM"):
        raise FileNotFoundError(f"SAGEMAKER_PROGRAM={_name()}: there is no such file in {folder}/code")
    return None


@contextlib.contextmanager
def _alone(context: Context, place: int) -> Iterator[None]:
    """While a request is asked for, it is the context's only one: scripts know none but number 0."""
    processors, ids = context.request_processor, context.request_ids
    if processors is not None:
        context.request_processor = [processors[place]]
    if ids is not None:
        context.request_ids = {0: ids[place]}
    try:
        yield
    finally:
        context.request_processor, context.request_ids = processors, ids
