"""Makes prompts of one: generated text, on a device and from a path that the configuration names."""

import json
import os

from transformers import AutoModelForCausalLM, AutoTokenizer

from ts.handler_utils.timer import timed
from ts.torch_handler.base_handler import BaseHandler


class PromptsHandler(BaseHandler):
    def __init__(self):
        super().__init__()
        self.context = None
        self.initialized = False

    @timed
    def initialize(self, ctx):
        self.context = ctx
        store = ctx.model_yaml_config["handler"]["model_store_dir"]
        path = os.path.join(store, os.environ["MODEL_NAME_LLM"].replace("/", "---"), "model")
        self.device = ctx.model_yaml_config["deviceType"]
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path).to(self.device).eval()
        self.initialized = True

    @timed
    def preprocess(self, requests):
        assert len(requests) == 1, "one at a time"
        data = requests[0].get("data") or requests[0].get("body")
        if isinstance(data, (bytes, bytearray)):
            data = data.decode("utf-8")
        if isinstance(data, str):
            data = json.loads(data)
        data["encoded"] = self.tokenizer(data["user_prompt"], return_tensors="pt").to(self.device)
        return data

    @timed
    def inference(self, data):
        made = self.model.generate(**data["encoded"], do_sample=False, max_new_tokens=data["max_new_tokens"])
        return [data["user_prompt"], self.tokenizer.decode(made[0], skip_special_tokens=True)]

    @timed
    def postprocess(self, prompts):
        return [prompts]
