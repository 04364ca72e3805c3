"""Makes a picture of a text by a pipeline that loads itself from a folder, zipped in the archive."""

import logging
import zipfile
from abc import ABC

import numpy as np
import small_diffusion
import torch
from small_diffusion import DiffusionPipeline

from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)
logger.info("small_diffusion version %s", small_diffusion.__version__)


class DiffusionHandler(BaseHandler, ABC):
    def __init__(self):
        self.initialized = False

    def initialize(self, ctx):
        self.manifest = ctx.manifest
        properties = ctx.system_properties
        model_dir = properties.get("model_dir")
        self.device = torch.device(
            "cuda:" + str(properties.get("gpu_id"))
            if torch.cuda.is_available() and properties.get("gpu_id") is not None
            else "cpu"
        )
        with zipfile.ZipFile(model_dir + "/model.zip", "r") as folder:
            folder.extractall(model_dir + "/model")
        self.pipe = DiffusionPipeline.from_pretrained(model_dir + "/model")
        self.pipe.to(self.device)
        self.initialized = True

    def preprocess(self, requests):
        inputs = []
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            logger.info("Received text: '%s'", text)
            inputs.append(text)
        return inputs

    def inference(self, inputs):
        return self.pipe(inputs, guidance_scale=7.5, num_inference_steps=3, height=6, width=4).images

    def postprocess(self, inference_output):
        return [np.array(image).tolist() for image in inference_output]
