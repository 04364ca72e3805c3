"""Reads `instances` itself and answers one of the results, as TorchServe's test of compiled models does."""

import torch

from ts.torch_handler.base_handler import BaseHandler


class HalfHandler(BaseHandler):
    def initialize(self, context):
        super().initialize(context)

    def preprocess(self, data):
        return torch.as_tensor(data[0]["body"]["instances"], dtype=torch.float32)

    def postprocess(self, data):
        return data.tolist()[2]
