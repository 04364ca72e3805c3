"""Classifies the frames of a film, several in one request: `{"0": <base64 or numbers>, "1": ...}`."""

import base64
import io

import torch
import torch.nn.functional as F
from PIL import Image

from ts.torch_handler.image_classifier import ImageClassifier
from ts.utils.util import map_class_to_label


class FramesHandler(ImageClassifier):
    def __init__(self):
        super(FramesHandler, self).__init__()  # noqa: UP008

    def preprocess(self, data):
        images = []
        for row in data:
            frames = row.get("data") or row.get("body")
            for frame in frames.values():
                if isinstance(frame, str):
                    frame = base64.b64decode(frame)
                if isinstance(frame, (bytearray, bytes)):
                    frame = self.image_processing(Image.open(io.BytesIO(frame)))
                else:
                    frame = torch.FloatTensor(frame)
                images.append(frame)
        return torch.stack(images).to(self.device)

    def postprocess(self, data):
        probabilities, classes = torch.topk(F.softmax(data, dim=1), self.topk, dim=1)
        # One request, whatever its number of frames.
        return [map_class_to_label(probabilities.tolist(), self.mapping, classes.tolist())]
