"""A model in another program's process; see torchkeeper.worker.standalone and torchkeeper.handler."""

from torchkeeper.handler.context import Context as Context
from torchkeeper.handler.context import RequestProcessor as RequestProcessor
from torchkeeper.handler.errors import PredictionException as PredictionException
from torchkeeper.handler.helpers import get_yaml_config as get_yaml_config
from torchkeeper.handler.metric import emit_metrics as emit_metrics
from torchkeeper.handler.otf import create_predict_response as create_predict_response
from torchkeeper.handler.recorder import PREDICTION_METRIC as PREDICTION_METRIC
from torchkeeper.worker.standalone import StandaloneService as Service

__all__ = [
    "PREDICTION_METRIC",
    "Context",
    "PredictionException",
    "RequestProcessor",
    "Service",
    "create_predict_response",
    "emit_metrics",
    "get_yaml_config",
]
