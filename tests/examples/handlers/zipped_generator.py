"""Generates texts by a model in a zip file of its archive; setup_config.json says how."""

import json
import os
import zipfile
from abc import ABC

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ts.torch_handler.base_handler import BaseHandler


class ZippedGenerator(BaseHandler, ABC):
    def __init__(self):
        super(ZippedGenerator, self).__init__()  # noqa: UP008
        self.initialized = False

    def initialize(self, ctx):
        folder = ctx.system_properties.get("model_dir")
        with zipfile.ZipFile(folder + "/model.zip", "r") as packed:
            packed.extractall(folder + "/model")
        with open(os.path.join(folder, "setup_config.json")) as file:
            self.setup_config = json.load(file)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder + "/model", revision=self.setup_config["revision"]
        )
        self.tokenizer = AutoTokenizer.from_pretrained(folder + "/model", return_tensors="pt")
        self.model.eval()
        self.initialized = True

    def preprocess(self, requests):
        batch = None
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            ids = self.tokenizer(text, return_tensors="pt")["input_ids"]
            batch = ids if batch is None else torch.cat((batch, ids), 0)
        return (batch, None)

    def inference(self, input_batch):
        (ids, _) = input_batch
        outputs = self.model.generate(
            ids, do_sample=False, max_new_tokens=int(self.setup_config["max_length"])
        )
        made = [self.tokenizer.decode(output, skip_special_tokens=True) for output in outputs]
        print("Generated text", made)
        return made

    def postprocess(self, inference_output):
        return inference_output
