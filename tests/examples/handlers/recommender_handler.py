"""Scores of films for users: dense numbers and lists of ids in a JSON object, many requests in one batch."""

import json
import os
from abc import ABC

import torch

from ts.torch_handler.base_handler import BaseHandler


class RecommenderHandler(BaseHandler, ABC):
    def initialize(self, context):
        properties = context.system_properties
        self.device = "cpu"
        self.manifest = context.manifest
        model_dir = properties.get("model_dir")
        weights = os.path.join(model_dir, self.manifest["model"]["serializedFile"])
        model_file = self.manifest["model"].get("modelFile", "")
        if not model_file:
            raise RuntimeError("no model file")
        self.model = self._load_pickled_model(model_dir, model_file, weights)
        on_gpu = torch.cuda.is_available() and properties.get("gpu_id") is not None
        self.device = torch.device(f"cuda:{properties.get('gpu_id')}" if on_gpu else "cpu")
        self.model.to(self.device)
        self.model.eval()
        self.initialized = True

    def preprocess(self, data):
        dense, lengths, values = [], [], []
        for row in data:
            features = row.get("data") or row.get("body")
            if not isinstance(features, dict):
                features = json.loads(features)
            assert "float_features" in features
            dense.append(features["float_features"])
            lengths.append(features["id_list_features.lengths"])
            values.append(torch.LongTensor(features["id_list_features.values"]).split(lengths[-1]))
        by_key = [one for key in zip(*values, strict=True) for one in key]
        return torch.FloatTensor(dense), torch.LongTensor(lengths).T, torch.cat(by_key)

    def inference(self, data):
        with torch.no_grad():
            return self.model(*(one.to(self.device) for one in data))

    def postprocess(self, data):
        return [{"score": item.squeeze().float().tolist()} for item in data]
