"""Says which digit a picture shows: own image processing, own postprocess, own arguments of the profiler."""

import numpy as np
import torch
from torch.profiler import ProfilerActivity

from ts.torch_handler.image_classifier import ImageClassifier


class ToInput:
    """What a Compose of ToTensor and Normalize does."""

    def __call__(self, image):
        pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
        return ((pixels - 0.1307) / 0.3081).unsqueeze(0)


class DigitClassifier(ImageClassifier):
    image_processing = ToInput()

    def __init__(self):
        super(DigitClassifier, self).__init__()  # noqa: UP008
        self.profiler_args = {"activities": [ProfilerActivity.CPU], "record_shapes": True}

    def postprocess(self, data):
        return data.argmax(1).tolist()
