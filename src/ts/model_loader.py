"""Loading a model in another program's process; see torchkeeper.worker.standalone."""

from torchkeeper.handler.declared import MetricsCacheYamlImpl as MetricsCacheYamlImpl
from torchkeeper.handler.helpers import list_classes_from_module as list_classes_from_module
from torchkeeper.worker.standalone import ModelLoader as ModelLoader
from torchkeeper.worker.standalone import ModelLoaderFactory as ModelLoaderFactory
from torchkeeper.worker.standalone import StandaloneService as Service
from torchkeeper.worker.standalone import TsModelLoader as TsModelLoader

__all__ = [
    "MetricsCacheYamlImpl",
    "ModelLoader",
    "ModelLoaderFactory",
    "Service",
    "TsModelLoader",
    "list_classes_from_module",
]
