"""The built-in handler `mlflow`: a model that MLflow saved with its flavor pytorch, served without MLflow.

The archive has the file MLmodel, the model's file as serialized file, and the folder of its own code. A
pickled model is code as well: whoever names this handler trusts it, as `mlflow models serve` does. Requests
and answers are those of MLflow's scoring server. Requests of a batch are computed together once that was seen
to give each the answer that it gets alone.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from torchkeeper.handler import array_body, scoring
from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.errors import PredictionException
from torchkeeper.handler.ports import NamedTensors, numbered
from torchkeeper.handler.probe import same
from torchkeeper.handler.rows import payload, readable
from torchkeeper.handler.safe_text import first_sentence, named_sentence
from torchkeeper.handler.scoring import Question
from torchkeeper.handler.served_model import ServedModel
from torchkeeper.handler.timing import timed
from torchkeeper.handler.weights import load_whole, read_torchscript
from torchkeeper.wire.mlmodel import MLMODEL, PICKLED_BY, Mlmodel, read_mlmodel

logger = logging.getLogger(__name__)

#: Modules that pickle in their own way, and whose files the standard library's pickle reads.
_PLAIN = ("", "pickle", "cloudpickle", "mlflow.pytorch.pickle_module")
#: What a request's body is, read or not.
_BODIES = (bytes, bytearray, memoryview, str, dict)
_PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class _Asked:
    question: Question
    #: An instance without a batch: its answer is its prediction alone.
    single: bool = False
    #: A request of KServe v2: its answer is the output by its name.
    named: bool = False


class MLflowHandler(BaseHandler):
    """Answers MLflow's scoring protocol: tables and arrays in, {"predictions": ...} out.

    A row is a request; or, behind an envelope, an instance, or a request's NamedTensors.
    """

    #: KServe v2's envelope hands it whole requests instead of single tensors.
    whole_requests = True

    def __init__(self) -> None:
        super().__init__()
        self._described = Mlmodel("")
        #: The type of fractions that no signature gives one.
        self._floating = torch.float64
        #: The output's name in KServe v2.
        self._output = numbered("output", [None])[0]
        #: Whether requests may be computed together; None: nothing has shown it yet.
        self._together: bool | None = None

    def _load(self, model_dir: str) -> Any:
        """The model, its own code on the import path.

        Raises:
            RuntimeError: there is none that can be loaded; the message says what to do.
        """
        folder = Path(model_dir)
        try:
            self._described = read_mlmodel((folder / MLMODEL).read_bytes())
            for tensor in self._described.tensors:
                scoring.torch_type(tensor)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"{error}; archive the model's folder with --from-mlflow") from error
        serialized = self.manifest["model"].get("serializedFile")
        if not serialized:
            raise RuntimeError("the manifest names no serialized file; archive the model with --from-mlflow")
        if self._described.code:
            sys.path.insert(0, str((folder / self._described.code).resolve()))
        self.model_pt_path = str(folder / serialized)
        model = self._read(folder / serialized)
        if not isinstance(model, ServedModel) and len(self._described.tensors) > 1:
            raise RuntimeError(
                "the signature has several inputs, and MLflow calls such models with one: archive it with a "
                "handler of your own (--handler)"
            )
        model.eval()
        self._floating = _floating(model)
        if isinstance(model, ServedModel) and model.outputs:
            self._output = model.outputs[0].name
        return model

    def _read(self, path: Path) -> Any:
        if path.suffix == ".pt2":
            return load_whole(path, self.device)
        if _is_torchscript(path):
            return read_torchscript(path, self.device)
        model = _unpickled(path, self.device, self._described.torch_version)
        if not isinstance(model, torch.nn.Module):
            raise RuntimeError(f"{path.name} holds a {type(model).__name__}, not a torch.nn.Module")
        return model.to(self.device)

    @timed
    def preprocess(self, data: Any) -> Any:
        """What the requests ask.

        Raises:
            UnreadableRows: some are no questions that fit the model's signature: 400, or 415.
        """
        return list(readable(enumerate(data), lambda row: self._asked(*row)))

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """What was asked, each with the model's output, or a PredictionException."""
        lanes: defaultdict[Any, list[int]] = defaultdict(list)
        for place, asked in enumerate(data):
            question = asked.question
            lanes[question.lane if question.rows is not None else place].append(place)
        found: dict[int, Any] = {}
        with torch.inference_mode():
            for places in lanes.values():
                outputs = self._outputs([data[place].question for place in places])
                found.update(zip(places, outputs, strict=True))
        return [(asked, found[place]) for place, asked in enumerate(data)]

    @timed
    def postprocess(self, data: Any) -> Any:
        """The answers, each in the form in which it was asked for; or the request's own failure."""
        return [self._answer(asked, output) for asked, output in data]

    def _answer(self, asked: _Asked, output: Any) -> Any:
        if isinstance(output, PredictionException):
            return output
        if asked.named and isinstance(output, torch.Tensor):
            return {self._output: output}
        question = asked.question
        try:
            found = scoring.answer(output, question.table, question.rows)
        except ValueError as error:
            return PredictionException(str(error))
        if not asked.single:
            return {"predictions": found}
        if not isinstance(found, list) or len(found) != 1:
            shape = list(output.shape)
            return PredictionException(f"the model gives an output of the shape {shape} for one instance")
        return found[0]

    # --- requests ----------------------------------------------------------------------------------------

    def _asked(self, place: int, row: Any) -> _Asked:
        try:
            if isinstance(row, NamedTensors):
                return _Asked(scoring.read_tensors(row, self._described, self._floating), named=True)
            if self._is_request(row):
                return _Asked(self._whole(payload(row), self._content_type(place, row)))
            instances = {scoring.INSTANCES: [row]}
            return _Asked(scoring.read_body(instances, self._described, self._floating), single=True)
        except ValueError as error:
            raise PredictionException(str(error), 400) from None

    def _is_request(self, row: Any) -> bool:
        """Whether a row is a request, and no instance of inputs that have the names of its parameters."""
        there = row.keys() & {"body", "data"} if isinstance(row, dict) else set()
        columns, tensors = self._described.columns, self._described.tensors
        named = {one.name for one in columns} | {one.name for one in tensors}
        # A request's body is a text, or an object with one of the forms; an instance's values are neither.
        return bool(there) and (not there <= named or isinstance(payload(row), _BODIES))

    def _whole(self, content: Any, content_type: str) -> Question:
        if content_type == _PARQUET:
            raise PredictionException(f"{_PARQUET} is not read here: send JSON or text/csv", 415)
        if content_type != array_body.CSV:
            return scoring.read_body(content, self._described, self._floating)
        text = content if isinstance(content, str) else bytes(content).decode()
        return scoring.read_csv(text, self._described)

    def _content_type(self, place: int, row: dict[str, Any]) -> str:
        """That of the request's body, or of the form's part that holds the data."""
        part = self.context.get_request_header(place, "data" if "data" in row else "body")
        given = part.get("content-type") if isinstance(part, dict) else None
        return array_body.plain(given or str(self.context.get_request_header(place, "content-type") or ""))

    # --- calls -------------------------------------------------------------------------------------------

    def _outputs(self, questions: Sequence[Question]) -> list[Any]:
        """The model's output for each question; or a PredictionException."""
        if len(questions) == 1 or self._together is False:
            return [self._alone(question) for question in questions]
        if self._together:
            joined = self._joined(questions)
            return [self._alone(question) for question in questions] if joined is None else joined
        alone = [self._alone(question) for question in questions]
        first, *others = questions
        differ = any(not _equal(first.tensors, other.tensors) for other in others)
        if differ and all(isinstance(output, torch.Tensor) for output in alone):
            joined = self._joined(questions)
            self._together = joined is not None and all(map(same, joined, alone))
            if not self._together:
                logger.info("A batch gives other answers than each request alone: they are computed alone")
        return alone

    def _joined(self, questions: Sequence[Question]) -> list[torch.Tensor] | None:
        """The outputs of one call for all; None where it gives no row for each of theirs."""
        counts = [question.rows or 0 for question in questions]
        tensors = zip(*(question.tensors for question in questions), strict=True)
        try:
            whole = self._called([torch.cat(parts) for parts in tensors], questions[0])
            return list(whole.split(counts))
        except Exception:  # noqa: BLE001 - values that a client sent may fail any operator
            return None

    def _alone(self, question: Question) -> Any:
        try:
            return self._called(question.tensors, question)
        except Exception as error:
            logger.exception("The model could not be computed")
            return PredictionException(named_sentence(error))

    def _called(self, tensors: Sequence[torch.Tensor], question: Question) -> Any:
        return self.model(*(tensor.to(self.device) for tensor in tensors), **question.params)


def _equal(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    return all(map(torch.equal, some, others))


def _floating(model: Any) -> torch.dtype:
    """The type of a model's weights; JSON's own fractions where it has none."""
    if isinstance(model, ServedModel):
        return torch.float32
    return next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float64)


# --- files -----------------------------------------------------------------------------------------------


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return any(name.endswith("/constants.pkl") for name in file.namelist())


def _unpickled(path: Path, device: torch.device, version: str | None) -> Any:
    """The object of a file that torch.save wrote; it runs what is in there.

    Raises:
        RuntimeError: it cannot be read, or needs what is not here; the message says what to do.
    """
    named = path.with_name(PICKLED_BY)
    module = named.read_text(encoding="utf-8").strip() if named.is_file() else ""
    try:
        pickler = pickle if module in _PLAIN else importlib.import_module(module)
        return torch.load(path, map_location=device, weights_only=False, pickle_module=pickler)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        how = "pip install torchkeeper[mlflow]" if missing == "cloudpickle" else "install its package"
        raise RuntimeError(
            f"{path.name} needs the module {missing}, which is not here: {how}, or let "
            "install_py_dep_per_model=true install the archive's requirements; a module of your own goes "
            "into the model by MLflow's code_paths"
        ) from error
    except Exception as error:
        saved = f", saved with torch {version} (here: {torch.__version__})" if version else ""
        raise RuntimeError(f"{path.name}{saved} cannot be loaded: {first_sentence(error, 300)}") from error
