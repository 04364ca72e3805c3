"""Reads a picture as handlers for pictures do: all of its pixels, in colours, as floating-point numbers.

A module function, so that it runs on TorchServe and on torchkeeper alike.
"""

import io

import numpy
from PIL import Image


def handle(data, context):
    """Each picture's mean; what says that it is `ready` comes back."""
    if data is None:
        return None
    bodies = [bytes(row.get("data") or row.get("body")) for row in data]
    return [body if body == b"ready" else _mean(body) for body in bodies]


def _mean(body):
    pixels = numpy.asarray(Image.open(io.BytesIO(body)).convert("RGB"), dtype=numpy.float32)
    return str(float(pixels.mean() / 255))
