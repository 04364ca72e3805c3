"""The base of all handlers; see torchkeeper.handler.base."""

from torchkeeper.handler.abilities import IPEX_AVAILABLE as IPEX_AVAILABLE
from torchkeeper.handler.abilities import ONNX_AVAILABLE as ONNX_AVAILABLE
from torchkeeper.handler.abilities import PROFILER_AVAILABLE as PROFILER_AVAILABLE
from torchkeeper.handler.abilities import PT2_AVAILABLE as PT2_AVAILABLE
from torchkeeper.handler.abilities import PT230_AVAILABLE as PT230_AVAILABLE
from torchkeeper.handler.abilities import XLA_AVAILABLE as XLA_AVAILABLE
from torchkeeper.handler.abilities import setup_ort_session as setup_ort_session
from torchkeeper.handler.base import BaseHandler as BaseHandler
from torchkeeper.handler.helpers import check_valid_pt2_backend as check_valid_pt2_backend
from torchkeeper.handler.helpers import list_classes_from_module as list_classes_from_module
from torchkeeper.handler.labels import load_label_mapping as load_label_mapping
from torchkeeper.handler.timing import timed as timed

__all__ = [
    "IPEX_AVAILABLE",
    "ONNX_AVAILABLE",
    "PROFILER_AVAILABLE",
    "PT2_AVAILABLE",
    "PT230_AVAILABLE",
    "XLA_AVAILABLE",
    "BaseHandler",
    "check_valid_pt2_backend",
    "list_classes_from_module",
    "load_label_mapping",
    "setup_ort_session",
    "timed",
]
