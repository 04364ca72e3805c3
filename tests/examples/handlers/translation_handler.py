"""Translates texts word by word; which language is said by setup_config.json in the archive."""

import json
import logging
import os

import torch

from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class TranslationHandler(BaseHandler):
    def __init__(self):
        self._context = None
        self.initialized = False
        self.model = None
        self.device = None

    def initialize(self, context):
        self._context = context
        self.manifest = context.manifest
        properties = context.system_properties
        folder = properties.get("model_dir")
        self.device = torch.device(
            "cuda:" + str(properties.get("gpu_id"))
            if torch.cuda.is_available() and properties.get("gpu_id") is not None
            else "cpu"
        )
        setup = os.path.join(folder, "setup_config.json")
        if os.path.isfile(setup):
            with open(setup) as file:
                self.setup_config = json.load(file)
        else:
            logger.warning("setup_config.json is not there")
        with open(os.path.join(folder, "dict.txt")) as file:
            self.model = dict(line.split() for line in file)
        self.initialized = True

    def preprocess(self, data):
        return [(row.get("data") or row.get("body")).decode("utf-8") for row in data]

    def inference(self, data, *args, **kwargs):
        answers = []
        for text in data:
            words = [self.model.get(word, word) for word in text.split()]
            answers.append(
                json.dumps({"input": text, self.setup_config["translated_output"]: " ".join(words)})
            )
        return answers

    def postprocess(self, data):
        return data
