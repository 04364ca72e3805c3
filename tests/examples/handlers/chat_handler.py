"""Continues a prompt token by token, each a part of the answer: bytes, as a tokenizer gives them."""

import json
import os
from abc import ABC

import torch

from ts.protocol.otf_message_handler import send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler


class ChatHandler(BaseHandler, ABC):
    def __init__(self):
        super(ChatHandler, self).__init__()  # noqa: UP008
        self.initialized = False

    def initialize(self, ctx):
        torch.manual_seed(int(ctx.model_yaml_config["handler"]["manual_seed"]))
        with open(os.environ["CHAT_MODEL"], "rb") as file:
            self.model = file.read().split(b"|")

    def preprocess(self, data):
        assert len(data) == 1, "one at a time"
        item = data[0].get("body")
        return json.loads(item) if isinstance(item, (bytes, bytearray)) else item

    def inference(self, data):
        params = data["params"]
        begin = len(data["prompt"])
        count = 0
        while True:
            if count >= params["max_new_tokens"]:
                break
            token = self.model[(begin + count) % len(self.model)]
            count += 1
            send_intermediate_predict_response(
                [token], self.context.request_ids, "Intermediate Prediction success", 200, self.context
            )
        return [""]

    def postprocess(self, output):
        return output
