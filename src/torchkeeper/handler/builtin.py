"""The built-in handlers by name, as an archive's manifest may call for them.

A table of import paths and nothing heavy: only the handler that a model names is imported. Names of
TorchServe's that have no handler here are rows of `wire.features.HANDLERS`.
"""

from __future__ import annotations

#: Name in a manifest -> "module:Class".
BUILTIN: dict[str, str] = {
    "base_handler": "torchkeeper.handler.base:BaseHandler",
    "text_classifier": "torchkeeper.handler.text:TextClassifier",
    "text_handler": "torchkeeper.handler.text:TextHandler",
    "vision_handler": "torchkeeper.handler.vision:VisionHandler",
    "image_classifier": "torchkeeper.handler.vision:ImageClassifier",
    "sagemaker": "torchkeeper.handler.sagemaker:SageMakerHandler",
    "image_segmenter": "torchkeeper.handler.segmentation:ImageSegmenter",
    "object_detector": "torchkeeper.handler.detection:ObjectDetector",
    "densenet_handler": "torchkeeper.handler.densenet:DenseNetHandler",
    "mlflow": "torchkeeper.handler.mlflow:MLflowHandler",
    "tensors": "torchkeeper.handler.tensors_handler:TensorsHandler",
}

#: File of an archive with the vocabulary that the built-in handlers for texts read.
SOURCE_VOCAB = "source_vocab.pt"
