"""Finds all masks of a picture, one picture at a time; they go out as pickled data in base64."""

import base64
import io
import logging
import os
import pickle

import numpy as np
import torch
from PIL import Image

from ts.handler_utils.timer import timed
from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


def generator(model, process_batch_size):
    """Masks of the pixels that are brighter than the model's level, channel by channel."""

    def generate(image):
        masks = image > int(model["level"])
        return [
            {"segmentation": masks[..., place], "area": int(masks[..., place].sum())} for place in range(3)
        ]

    return generate


class MasksHandler(BaseHandler):
    def __init__(self):
        super().__init__()
        self.generate = None
        self.initialized = False

    def initialize(self, ctx):
        self.context = ctx
        model_dir = ctx.system_properties.get("model_dir")
        config = ctx.model_yaml_config["handler"]
        if config["model_type"] != "bright":
            raise ValueError(f"no model of type {config['model_type']}")
        self.model = torch.load(os.path.join(model_dir, config["checkpoint"]))
        self.generate = generator(self.model, config["process_batch_size"])
        logger.info(f"Weights {config['checkpoint']} loaded")
        self.initialized = True

    @timed
    def preprocess(self, data):
        images = []
        for row in data:
            image = row.get("data") or row.get("body")
            if isinstance(image, str):
                image = base64.b64decode(image)
            if isinstance(image, (bytearray, bytes)):
                image = Image.open(io.BytesIO(image))
            images.append(np.array(image)[..., ::-1].copy())
        return images

    @timed
    def inference(self, data):
        assert len(data) == 1, "one picture at a time"
        return self.generate(data[0])

    @timed
    def postprocess(self, data):
        return [base64.b64encode(pickle.dumps(data)).decode("utf-8")]
