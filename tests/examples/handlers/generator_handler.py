"""Makes pictures of noise: the network's source comes zipped in the archive, requests are JSON objects."""

import os
import zipfile
from io import BytesIO

import torch
from PIL import Image

from ts.torch_handler.base_handler import BaseHandler

SOURCE = "networks.zip"
CHECKPOINT = "generator.pth"


class GeneratorHandler(BaseHandler):
    def __init__(self):
        self.initialized = False
        self.map_location = None
        self.device = None
        self.network = None
        self.default_number_of_images = 1

    def initialize(self, context):
        properties = context.system_properties
        model_dir = properties.get("model_dir")
        self.map_location = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(
            self.map_location + ":" + str(properties.get("gpu_id"))
            if torch.cuda.is_available()
            else self.map_location
        )
        if not os.path.exists(os.path.join(model_dir, "networks")):
            with zipfile.ZipFile(os.path.join(model_dir, SOURCE), "r") as source:
                source.extractall(model_dir)
        from networks.generator import Generator

        self.network = Generator(store_average=True)
        state = torch.load(os.path.join(model_dir, CHECKPOINT), map_location=self.map_location)
        self.network.load_state_dict(state)
        self.initialized = True

    def preprocess(self, requests):
        prepared = []
        for request in requests:
            data = request.get("data") if request.get("data") is not None else request.get("body", {})
            number = data.get("number_of_images", self.default_number_of_images)
            wishes = {key: value for key, value in data.items() if key != "number_of_images"}
            prepared.append({"number_of_images": number, "input": self.network.noise(number, wishes)})
        return prepared

    def inference(self, preprocessed_data, *args, **kwargs):
        batch = torch.cat([one["input"] for one in preprocessed_data], 0)
        with torch.no_grad():
            pictures = self.network.test(batch)
        return torch.split(pictures, [one["number_of_images"] for one in preprocessed_data])

    def postprocess(self, output_batch):
        answers = []
        for pictures in output_batch:
            pixels = torch.cat(list(pictures), dim=2).mul(255).round().byte().permute(1, 2, 0)
            file = BytesIO()
            Image.fromarray(pixels.numpy()).save(file, format="JPEG")
            answers.append(file.getvalue())
            file.close()
        return answers
