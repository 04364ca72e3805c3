"""A handler for the MNIST network: the built-in image classifier with its own image processing and answer."""

import numpy as np
import torch
from PIL import Image

from ts.torch_handler.image_classifier import ImageClassifier


def to_input(image: Image.Image) -> torch.Tensor:
    """A picture as the network wants it: float32 (1, 28, 28), normalised as in training."""
    grey = image.convert("L")
    if grey.size != (28, 28):
        grey = grey.resize((28, 28), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(grey, dtype=np.float32) / 255)
    return ((pixels - 0.1307) / 0.3081).unsqueeze(0)


class MNISTDigitClassifier(ImageClassifier):
    """Answers with the digit that a picture shows."""

    image_processing = staticmethod(to_input)

    def postprocess(self, data: torch.Tensor) -> list[int]:
        """Log-probabilities (N, 10) to N digits."""
        return data.argmax(1).tolist()
