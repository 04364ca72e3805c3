"""Embeds texts with instructions; its file's name is no name of Python's, its model is a folder."""

import os

import torch

from ts.torch_handler.base_handler import BaseHandler


class InstructionHandler(BaseHandler):
    def __init__(self):
        super().__init__()
        self.initialized = False
        self.model = None

    def initialize(self, context):
        folder = context.system_properties.get("model_dir")
        self.model = torch.load(os.path.join(folder, "pytorch_model.bin"))
        self.model *= torch.load(os.path.join(folder, "pooling", "scale.pt"))
        self.initialized = True

    def handle(self, data, context):
        inputs = data[0].get("body").get("inputs")
        if isinstance(inputs[0], str):
            inputs = [inputs]
        pairs = torch.tensor([[len(instruction), len(text)] for instruction, text in inputs]).float()
        return [(pairs @ self.model).numpy().tolist()]
