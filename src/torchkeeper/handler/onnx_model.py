"""Reads .onnx files with onnxruntime, an extra: a ServedModel of torch's tensors around its session.

Sizes without a number in the file may be any. The session is the model's: handlers that were written for one
(`self.model.run(None, {...})`, `get_inputs`) find it behind the model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from torchkeeper.handler.ports import Port, Size, fixed
from torchkeeper.handler.served_model import ServedModel

#: onnxruntime's names of tensors -> the protocol's datatypes.
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


def read_onnx(path: Path, device: torch.device) -> ServedModel:
    """The model of an .onnx file, on the GPU of `device` where onnxruntime can use it.

    Raises:
        RuntimeError: onnxruntime is missing, or cannot load the file.
    """
    try:
        session = open_session(str(path), device)
    except ImportError as error:
        raise RuntimeError(f"{path.name} needs onnxruntime: pip install torchkeeper[onnx]") from error
    except Exception as error:
        raise RuntimeError(f"{path.name} cannot be loaded by onnxruntime ({error})") from error
    inputs = [_port(one) for one in session.get_inputs()]
    outputs = [_following(_port(one), inputs) for one in session.get_outputs()]

    def run(tensors: list[torch.Tensor]) -> Any:
        given = {
            port.name: tensor.detach().cpu().contiguous().numpy()
            for port, tensor in zip(inputs, tensors, strict=True)
        }
        found = tuple(torch.from_numpy(value).to(device) for value in session.run(None, given))
        return found[0] if len(found) == 1 else found

    return ServedModel(run, inputs, outputs, session=session)


def open_session(path: str, device: torch.device) -> Any:
    """onnxruntime's session for a file: the worker's share of the cores, and the GPU of `device`.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, sess_options=options, providers=_providers(onnxruntime, device))


def _providers(onnxruntime: Any, device: torch.device) -> list[Any]:
    there = onnxruntime.get_available_providers()
    if device.type == "cuda" and "CUDAExecutionProvider" in there:
        return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def _port(about: Any) -> Port:
    sizes = tuple(
        fixed(length) if isinstance(length, int) else Size(0, None, length or None) for length in about.shape
    )
    return Port(about.name, _DATATYPES.get(about.type), sizes)


def _following(output: Port, inputs: list[Port]) -> Port:
    """An output whose first dimension has no number is taken for a batch's: exporters name it anyhow."""
    sizes = output.sizes or ()
    first = next((port.sizes[0] for port in inputs if port.sizes), None)
    if not sizes or sizes[0].fixed or first is None:
        return output
    return replace(output, sizes=(first, *sizes[1:]))
