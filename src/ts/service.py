"""What handlers import from the place of the worker's service; see torchkeeper.handler."""

from torchkeeper.handler import left_out as _left_out
from torchkeeper.handler.context import Context as Context
from torchkeeper.handler.context import RequestProcessor as RequestProcessor
from torchkeeper.handler.errors import PredictionException as PredictionException
from torchkeeper.handler.helpers import get_yaml_config as get_yaml_config
from torchkeeper.handler.metric import emit_metrics as emit_metrics
from torchkeeper.handler.otf import create_predict_response as create_predict_response
from torchkeeper.handler.recorder import PREDICTION_METRIC as PREDICTION_METRIC

__getattr__ = _left_out.refusing(__name__)

__all__ = [
    "PREDICTION_METRIC",
    "Context",
    "PredictionException",
    "RequestProcessor",
    "create_predict_response",
    "emit_metrics",
    "get_yaml_config",
]
