"""Small batches of numbers side by side, set up from model-config.yaml."""

import torch

from ts.handler_utils.micro_batching import MicroBatching
from ts.torch_handler.base_handler import BaseHandler


class MicroNumbersHandler(BaseHandler):
    def __init__(self):
        super().__init__()
        self.handle = MicroBatching(self)

    def initialize(self, ctx):
        super().initialize(ctx)
        settings = ctx.model_yaml_config.get("micro_batching", {})
        parallelism = settings.get("parallelism", None)
        if parallelism:
            self.handle.parallelism = parallelism
        self.handle.micro_batch_size = settings.get("micro_batch_size", 1)

    def preprocess(self, data):
        assert len(data) <= self.handle.micro_batch_size
        return torch.tensor([row["body"]["series"] for row in data], dtype=torch.float32)

    def postprocess(self, data):
        return [{"forecast": row[0], "piece": self.handle.get_micro_batch_idx()} for row in data.tolist()]
