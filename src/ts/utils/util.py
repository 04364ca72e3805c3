"""Labels, module classes, errors; see torchkeeper.handler.labels, helpers and errors."""

from torchkeeper.handler.errors import PredictionException as PredictionException
from torchkeeper.handler.helpers import CLEANUP_REGEX as CLEANUP_REGEX
from torchkeeper.handler.helpers import PT2Backend as PT2Backend
from torchkeeper.handler.helpers import check_valid_pt2_backend as check_valid_pt2_backend
from torchkeeper.handler.helpers import deprecated as deprecated
from torchkeeper.handler.helpers import get_yaml_config as get_yaml_config
from torchkeeper.handler.helpers import list_classes_from_module as list_classes_from_module
from torchkeeper.handler.labels import load_label_mapping as load_label_mapping
from torchkeeper.handler.labels import map_class_to_label as map_class_to_label

__all__ = [
    "CLEANUP_REGEX",
    "PT2Backend",
    "PredictionException",
    "check_valid_pt2_backend",
    "deprecated",
    "get_yaml_config",
    "list_classes_from_module",
    "load_label_mapping",
    "map_class_to_label",
]
