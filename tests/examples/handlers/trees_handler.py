"""Boosted trees over measured features, by a handler that loads them itself; answers are names."""

import json
import logging
import os

import numpy as np
import torch

from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import load_label_mapping

logger = logging.getLogger(__name__)


class Trees:
    """Sums of what stumps say for each class: the class with the greatest sum wins."""

    def load_model(self, path):
        with open(path) as file:
            self.stumps = json.load(file)["stumps"]

    def predict(self, rows):
        sums = np.zeros((len(rows), 1 + max(stump["class"] for stump in self.stumps)))
        for stump in self.stumps:
            above = rows[:, stump["feature"]] > stump["threshold"]
            sums[:, stump["class"]] += np.where(above, stump["above"], stump["below"])
        return sums.argmax(1)


class TreesHandler(BaseHandler):
    def __init__(self):
        super().__init__()

    def initialize(self, context):
        self.device = torch.device("cpu")
        properties = context.system_properties
        self.manifest = context.manifest
        model_dir = properties.get("model_dir")
        self.model = Trees()
        if "serializedFile" in self.manifest["model"]:
            weights = os.path.join(model_dir, self.manifest["model"]["serializedFile"])
            self.model.load_model(weights)
        self.mapping = load_label_mapping(os.path.join(model_dir, "index_to_name.json"))
        logger.info("Trees of %s loaded", weights)
        self.initialized = True

    def preprocess(self, requests):
        rows = []
        for request in requests:
            row = request.get("data") or request.get("body")
            if isinstance(row, (bytes, bytearray)):
                row = [float(value) for value in row.decode("utf-8").split(",")]
            rows.append(row)
        return np.array(rows)

    def inference(self, data):
        return self.model.predict(data)

    def postprocess(self, result):
        return [self.mapping[str(number)] for number in result.tolist()]
