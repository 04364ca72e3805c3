"""Sums per sequence, kept in a cache, as TorchServe's example of stateful inference keeps them."""

from abc import ABC

from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler


class SumsHandler(BaseHandler, ABC):
    def initialize(self, ctx: Context):
        self.context = ctx
        self.cache = {}

    def preprocess(self, data):
        sums = []
        for place, row in enumerate(data):
            sequence = self.context.get_sequence_id(place)
            number = int((row.get("data") or row.get("body")).decode("utf-8"))
            self.cache[sequence] = self.cache.get(sequence, 0) + number
            sums.append(self.cache[sequence])
        return sums

    def inference(self, data, *args, **kwargs):
        return data

    def postprocess(self, data):
        return data
