"""Counts the things in a picture: a model of a package that loads itself, and a processing of its own."""

import logging
import os
from collections import Counter

import numpy as np
import torch
from small_yolo import YOLO

from ts.torch_handler.object_detector import ObjectDetector

logger = logging.getLogger(__name__)

try:
    import torch_xla.core.xla_model as xm

    XLA_AVAILABLE = True
except ImportError:
    XLA_AVAILABLE = False


class Square:
    def __call__(self, image):
        pixels = np.array(image.resize((64, 64)), dtype=np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1)


class YoloHandler(ObjectDetector):
    image_processing = Square()

    def __init__(self):
        super(YoloHandler, self).__init__()  # noqa: UP008

    def initialize(self, context):
        if torch.cuda.is_available():
            self.device = torch.device("cuda")
        elif XLA_AVAILABLE:
            self.device = xm.xla_device()
        else:
            self.device = torch.device("cpu")
        self.manifest = context.manifest
        self.model_pt_path = None
        if "serializedFile" in self.manifest["model"]:
            model_dir = context.system_properties.get("model_dir")
            self.model_pt_path = os.path.join(model_dir, self.manifest["model"]["serializedFile"])
        self.model = self._load_torchscript_model(self.model_pt_path)
        logger.debug("Model file %s loaded successfully", self.model_pt_path)
        self.initialized = True

    def _load_torchscript_model(self, model_pt_path):
        model = YOLO(model_pt_path)
        model.to(self.device)
        return model

    def postprocess(self, res):
        output = []
        for data in res:
            names = data.names
            output.append(dict(Counter(names[int(number)] for number in data.boxes.cls.tolist())))
        return output
