"""The built-in handler `tensors`: named tensors in, named tensors out, without a line of Python.

Serves models that say what they take (.pt2, .onnx). Requests of a batch are computed together where that
gives each the answer that it gets alone. Knows tensors by name; the protocols' forms are the envelopes'.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import PredictionException
from torchkeeper.handler.formats import TENSORS_REFUSAL
from torchkeeper.handler.nested import nested_tensor
from torchkeeper.handler.ports import NamedTensors, Port, Size, misfit, unequal
from torchkeeper.handler.probe import DTYPES
from torchkeeper.handler.rows import readable
from torchkeeper.handler.safe_text import named_sentence
from torchkeeper.handler.served_model import ServedModel
from torchkeeper.handler.timing import timed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Request:
    tensors: dict[str, torch.Tensor]
    #: Whether the dimension of the batch was added here, and its outputs are to be plain lists.
    single: bool

    @property
    def rows(self) -> int:
        return int(next(iter(self.tensors.values())).shape[0])

    @property
    def lane(self) -> list[tuple[int, ...]]:
        """What requests that are computed together have in common."""
        return [tuple(tensor.shape[1:]) for tensor in self.tensors.values()]


class TensorsHandler(BaseHandler):
    """Answers with the model's own outputs.

    A row is a request's NamedTensors, with the dimension of the batch; or an instance without it: nested
    lists by input name, or of the only input.
    """

    #: KServe v2's envelope hands it whole requests instead of single tensors.
    whole_requests = True
    #: That envelope is around it unless a request or the settings ask for another one.
    kserve_v2_by_default = True

    def initialize(self, context: Context) -> None:
        """Loads the model and finds out whether requests may share a batch.

        Raises:
            RuntimeError: there is no model, or none that says what it takes; or it takes or gives what is no
                tensor of a known datatype.
        """
        super().initialize(context)
        if not isinstance(self.model, ServedModel) or any(port.sizes is None for port in self.model.inputs):
            raise RuntimeError(TENSORS_REFUSAL)
        size = self.model.batch
        foreign = [
            port.name
            for port in (*self.model.inputs, *self.model.outputs)
            if port.sizes is not None and port.datatype not in DTYPES
        ]
        if foreign:
            raise RuntimeError(f"the handler 'tensors' has no datatype for the model's {', '.join(foreign)}")
        self._together = False
        if size is not None and not size.fixed:
            independent = self.model.independent(self.device)
            self._together = independent is True
            if not self._together:
                why = "depend on each other" if independent is False else "could not be tried"
                logger.info("The rows of the model's batches %s: each request is computed alone", why)

    @timed
    def preprocess(self, data: Any) -> Any:
        """The requests' tensors on the handler's device.

        Raises:
            UnreadableRows: some are not what the model takes.
        """
        return list(readable(data, self._request))

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """For each request its outputs by name, or a PredictionException."""
        found: dict[int, Any] = {}
        places = range(len(data))
        if self._together:
            groups = groupby(
                sorted(places, key=lambda place: data[place].lane), lambda place: data[place].lane
            )
            lanes = [list(group) for _, group in groups]
        else:
            lanes = [[place] for place in places]
        with torch.inference_mode():
            for lane in lanes:
                found.update(zip(lane, self._computed([data[place] for place in lane]), strict=True))
        return [
            self._plain(found[place])
            if data[place].single and isinstance(found[place], dict)
            else found[place]
            for place in places
        ]

    @timed
    def postprocess(self, data: Any) -> Any:
        """The results as they are."""
        return data

    def _plain(self, outputs: dict[str, torch.Tensor]) -> Any:
        """An instance's outputs as lists by name, or the only one's."""
        batched = self.model.batch is not None
        lists = {name: (value[0] if batched else value).tolist() for name, value in outputs.items()}
        return next(iter(lists.values())) if len(lists) == 1 else lists

    def _computed(self, requests: Sequence[_Request]) -> list[Any]:
        """The outputs of requests that are computed together; alone, where that fails."""
        if len(requests) == 1:
            return [self._alone(requests[0])]
        names = [port.name for port in self.model.inputs]
        whole = {name: torch.cat([request.tensors[name] for request in requests]) for name in names}
        counts = [request.rows for request in requests]
        try:
            parts = {name: value.split(counts) for name, value in self.model.named(whole).items()}
        except Exception:  # noqa: BLE001 - values that a client sent may fail any operator
            return [self._alone(request) for request in requests]
        return [{name: parts[name][place] for name in parts} for place in range(len(requests))]

    def _alone(self, request: _Request) -> Any:
        try:
            return self.model.named(request.tensors)
        except Exception as error:
            logger.exception("The model could not be computed")
            return PredictionException(named_sentence(error))

    def _request(self, row: Any) -> _Request:
        """A row's tensors in the order of the model's inputs.

        Raises:
            ValueError: they are not what the model takes.
        """
        ports = self.model.inputs
        given: dict[str, Any] = row if isinstance(row, dict) else {ports[0].name: row}
        if given.keys() != {port.name for port in ports}:
            wanted, there = (", ".join(names) or "none" for names in ([port.name for port in ports], given))
            raise ValueError(f"the model takes the inputs {wanted}; the request has {there}")
        whole = isinstance(row, NamedTensors)
        found = {}
        for port in ports:
            if isinstance(row, NamedTensors):
                tensor = _tensor(row, port)
            else:
                tensor = nested_tensor(
                    given[port.name], DTYPES[port.datatype or "FP32"], f"input {port.name!r}"
                )
                tensor = tensor if self.model.batch is None else tensor[None]
            found[port.name] = tensor
        self._check(found)
        return _Request({name: tensor.to(self.device) for name, tensor in found.items()}, not whole)

    def _check(self, tensors: dict[str, torch.Tensor]) -> None:
        for port in self.model.inputs:
            sizes = port.sizes
            if self._together:  # then a batch of any size can be computed
                port = Port(port.name, port.datatype, (Size(1, None), *sizes[1:]))
            if (why := misfit(port, None, tensors[port.name].shape)) is not None:
                raise ValueError(f"input {port.name!r}: {why}")
        if (why := unequal(self.model.inputs, [tensor.shape for tensor in tensors.values()])) is not None:
            raise ValueError(why)
        rows = {name: int(tensor.shape[0]) for name, tensor in tensors.items()} if self._together else {}
        if len(set(rows.values())) > 1:  # joined, rows of one request would meet those of another
            counts = ", ".join(f"{name} has {count}" for name, count in rows.items())
            raise ValueError(f"all inputs must have equally many rows; {counts}")


def _tensor(given: NamedTensors, port: Port) -> torch.Tensor:
    datatype = given.datatypes[port.name]
    if port.datatype != datatype:
        raise ValueError(f"input {port.name!r}: datatype {datatype} is not {port.datatype}")
    array = np.asarray(given[port.name])
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(DTYPES[datatype])
