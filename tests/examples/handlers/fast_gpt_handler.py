"""Generates text by functions of sibling files, with a checkpoint named as seen from the model's folder."""

import json
import logging
from pathlib import Path

import torch
from fast_gpt_generate import encode_tokens, load_model, next_token

from ts.handler_utils.timer import timed
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class FastGptHandler(BaseHandler):
    def __init__(self):
        super().__init__()
        self.context = None
        self.initialized = False
        self.stream = False

    def initialize(self, ctx):
        self.context = ctx
        checkpoint = Path(ctx.model_yaml_config["handler"]["converted_ckpt_dir"])
        assert checkpoint.is_file(), checkpoint
        self.model = load_model(checkpoint)
        self.stream = ctx.model_yaml_config["handler"].get("stream", True)
        self.initialized = True

    @timed
    def preprocess(self, requests):
        assert len(requests) == 1, "only batch_size=1"
        asked = requests[0].get("data") or requests[0].get("body")
        if isinstance(asked, (bytes, bytearray)):
            asked = asked.decode("utf-8")
        if isinstance(asked, str):
            asked = json.loads(asked)
        return {"encoded": encode_tokens(asked["prompt"]), "count": asked.get("max_new_tokens", 50)}

    @timed
    def inference(self, asked):
        def call_me(token):
            send_intermediate_predict_response(
                [chr(int(token))],
                self.context.request_ids,
                "Intermediate Prediction success",
                200,
                self.context,
            )

        return self.generate(asked, call_me if self.stream else lambda token: token)

    @torch.no_grad()
    def generate(self, asked, callback):
        made = []
        token = asked["encoded"].sum()
        for _ in range(asked["count"]):
            token = next_token(self.model, token)
            made.append(int(token))
            callback(token)
        logger.info(f"Num tokens = {len(made)}")
        return made

    @timed
    def postprocess(self, made):
        return ["" if self.stream else "".join(map(chr, made))]
