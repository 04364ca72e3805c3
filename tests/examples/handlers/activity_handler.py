"""Says what is done in a film from its frames, its sound and its script, all in one request."""

import ast
import csv
import io
import json
import logging
import os

import torch
import yaml
from small_multimodal import MultiModalTransformer, build_processors, read_video

from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class ActivityHandler(BaseHandler):
    def __init__(self):
        super(ActivityHandler, self).__init__()  # noqa: UP008
        self.initialized = False

    def initialize(self, ctx):
        self.manifest = ctx.manifest
        properties = ctx.system_properties
        serialized_file = self.manifest["model"]["serializedFile"]
        self.map_location = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(
            self.map_location + ":" + str(properties.get("gpu_id"))
            if torch.cuda.is_available()
            else self.map_location
        )
        # Files of the archive by names alone: a worker runs in the model's folder.
        with open("./action_labels.csv") as file:
            labels = [ast.literal_eval(row["action_labels"]) for row in csv.DictReader(file)]
        self.classes = sorted({label for row in labels for label in row})
        self.class_to_idx = {name: place for place, name in enumerate(self.classes)}
        with open("config.yaml") as file:
            config = yaml.safe_load(file)
        self.processor = build_processors(config["processors"])
        self.model = MultiModalTransformer(len(self.classes))
        self.model.load_state_dict(torch.load(serialized_file, map_location=self.device))
        self.model.to(self.device)
        self.model.eval()
        self.initialized = True
        print("files of the model", json.dumps(sorted(os.listdir(properties.get("model_dir")))))

    def preprocess(self, requests):
        samples = []
        for data in requests:
            script = data.get("script").decode("utf-8")
            wanted = self.class_to_idx[data.get("labels").decode("utf-8")]
            frames, sound = read_video(io.BytesIO(data["data"]))
            samples.append(
                {
                    "video": self.processor["video"](frames),
                    "audio": self.processor["audio"](sound),
                    "text": self.processor["text"]({"text": script}),
                    "target": torch.nn.functional.one_hot(torch.tensor(wanted), len(self.classes)),
                }
            )
        return samples

    def inference(self, samples):
        with torch.no_grad():
            scores = torch.stack([self.model(sample) for sample in samples])
        return [
            [self.classes[item] for item in row.nonzero().flatten()] for row in torch.sigmoid(scores).round()
        ]

    def postprocess(self, inference_output):
        return inference_output
