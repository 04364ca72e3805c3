"""Sentiment of reviews that come as `{"text": ...}`, whatever the client calls that; two thousand at once."""

import ast
import json
import os

import torch

from ts.torch_handler.base_handler import BaseHandler


class ReviewsHandler(BaseHandler):
    def initialize(self, ctx):
        self.manifest = ctx.manifest
        model_dir = ctx.system_properties.get("model_dir")
        with open(os.path.join(model_dir, "setup_config.json")) as setup:
            self.setup_config = json.load(setup)
        with open(os.path.join(model_dir, "index_to_name.json")) as names:
            self.mapping = json.load(names)
        self.good = set(self.setup_config["good"])
        self.initialized = True

    def preprocess(self, requests):
        counts = []
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            if isinstance(text, str):
                text = ast.literal_eval(text)
            words = text["text"].split()[: int(self.setup_config["max_length"])]
            counts.append(sum(word.lower() in self.good for word in words))
        return torch.tensor(counts)

    def inference(self, counts):
        return (counts > 0).long()

    def postprocess(self, classes):
        return [self.mapping[str(one)] for one in classes.tolist()]
