"""Generates texts by a model whose inner part is compiled, as model-config.yaml says."""

import logging

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class CompiledGenerator(BaseHandler):
    def __init__(self):
        super(CompiledGenerator, self).__init__()  # noqa: UP008
        self.initialized = False

    def initialize(self, ctx):
        self.model_yaml_config = (
            ctx.model_yaml_config if ctx is not None and hasattr(ctx, "model_yaml_config") else {}
        )
        path = self.model_yaml_config.get("handler", {}).get("model_path", None)
        if not path:
            logger.error("Missing model path")
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path).eval()
        options = self.model_yaml_config.get("pt2", {}).get("compile", {})
        if options.get("enable"):
            del options["enable"]
            self.model.transformer = torch.compile(self.model.transformer, **options)
            logger.info(
                f"Compiled model with {', '.join(f'{key} {value}' for key, value in options.items())}"
            )
        self.initialized = True

    def preprocess(self, requests):
        texts = [(request.get("data") or request.get("body")).decode("utf-8") for request in requests]
        return self.tokenizer(texts, padding=True, return_tensors="pt")

    @torch.inference_mode()
    def inference(self, input_batch):
        made = self.model.generate(**input_batch, do_sample=False, max_new_tokens=6)
        return self.tokenizer.batch_decode(made, skip_special_tokens=True)

    def postprocess(self, inference_output):
        return inference_output
