"""Says which digit is in a tensor, sent as JSON: `{"image": [[[[...]]]]}`."""

import torch
from torch.profiler import ProfilerActivity

from ts.torch_handler.image_classifier import ImageClassifier


class DigitClassifier(ImageClassifier):
    def __init__(self):
        super(DigitClassifier, self).__init__()  # noqa: UP008
        self.profiler_args = {"activities": [ProfilerActivity.CPU], "record_shapes": True}

    def preprocess(self, data):
        return torch.as_tensor(data[0]["body"]["image"])

    def postprocess(self, data):
        return data.argmax(1).tolist()
