"""Handlers for images: pictures in, tensors to the model, labels out.

Knows how a picture arrives (raw bytes, base64 text, nested lists) and nothing of which model looks at it.
Source: TorchServe's `vision_handler` and `image_classifier`.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional
from PIL import Image, UnidentifiedImageError

from torchkeeper.handler import explain
from torchkeeper.handler.base import BaseHandler
from torchkeeper.handler.context import Context
from torchkeeper.handler.errors import PredictionException
from torchkeeper.handler.labels import map_class_to_label, names_classes
from torchkeeper.handler.rows import payload, readable
from torchkeeper.handler.stacking import stacked
from torchkeeper.handler.timing import timed
from torchkeeper.handler.transforms import (
    CenterCrop,
    Compose,
    Normalize,
    Resize,
    ToRGB,
    ToTensor,
    eight_bits,
)

#: Mean and standard deviation of ImageNet's red, green and blue, of values in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: What models that were trained on ImageNet see of a picture.
IMAGENET_PROCESSING = Compose(
    [ToRGB(), Resize(256), CenterCrop(224), ToTensor(), Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD)]
)


class VisionHandler(BaseHandler):
    """Base of handlers for images.

    Subclasses give `image_processing`: an object that can be called (such as a Compose), a static method or a
    method, which makes a float tensor (C, H, W) of a PIL image. Pictures that come out of it in one shape are
    one batch for the model.
    """

    image_processing: Callable[[Image.Image], torch.Tensor]

    def initialize(self, context: Context) -> None:
        """Loads the model; `self.ig` explains it if Captum is installed and the model has gradients."""
        super().initialize(context)
        attribution = explain.integrated_gradients(self.model)
        if attribution is not None:
            self.ig: Any = attribution
        if not context.system_properties.get("limit_max_image_pixels", True):
            Image.MAX_IMAGE_PIXELS = None

    @timed
    def preprocess(self, data: Any) -> Any:
        """The batch as a float tensor (N, C, H, W) on the handler's device.

        Args:
            data: rows; each a dict with `data` or `body`, or the picture itself: encoded picture as bytes or
                as base64 text, or nested lists of floats (C, H, W).

        Raises:
            UnreadableRows: rows are no pictures, or `image_processing` raises of them.
            RowsApart: it makes tensors of several shapes.
        """
        return stacked(list(readable(data, self._tensor))).to(self.device)

    def _tensor(self, row: Any) -> torch.Tensor:
        """What `image_processing` makes of a row's picture, or the numbers that came in its place."""
        content = _picture(row)
        if isinstance(content, torch.Tensor):
            return content
        try:
            return self.image_processing(content)
        except PredictionException:
            raise
        except Exception:
            for plain in _plainer(content):
                with contextlib.suppress(Exception):
                    return self.image_processing(plain)
            raise

    def get_insights(self, tensor_data: Any, _: Any, target: Any = 0) -> Any:
        """Integrated Gradients of the batch, as nested lists (N, C, H, W).

        Args:
            tensor_data: the preprocessed batch.
            target: the class to explain: a number for all rows, or one per row.

        Raises:
            PredictionException: Captum is missing, or the model has no gradients, or gives no classes.
            UnreadableRows: rows ask for a class that the model has not.
        """
        if getattr(self, "ig", None) is None:
            raise explain.refusal(allowed=explain.has_gradients(self.model))
        with explain.eager_look(), torch.no_grad():  # what the model keeps of it must do for gradients
            target = explain.in_range(target, self.model(tensor_data))
        print("input shape", tensor_data.shape)
        return self.ig.attribute(tensor_data, target=target, n_steps=explain.N_STEPS).tolist()


def _picture(row: Any) -> torch.Tensor | Image.Image:
    """A row's picture, or the numbers that came in its place.

    Raises:
        ValueError: it has neither.
        DecompressionBombError: the picture has more pixels than the worker decodes.
    """
    content = payload(row)
    if isinstance(content, str):
        content = base64.b64decode(content)
    if not isinstance(content, bytes | bytearray):
        try:
            return torch.as_tensor(content, dtype=torch.float32)
        except (TypeError, RuntimeError, OverflowError) as error:
            raise ValueError(str(error)) from None
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError:
        raise ValueError(f"no picture that Pillow can read ({len(content)} bytes)") from None
    except (MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:  # noqa: BLE001 - decoders of broken files raise anything, also SyntaxError
        raise ValueError(str(error)) from None
    return image


def _plainer(picture: Image.Image) -> Iterator[Image.Image]:
    """A picture's plainer forms, for transforms that cannot take it as it was sent."""
    with contextlib.suppress(ValueError):
        if (grey := eight_bits(picture)) is not picture:
            yield grey
        if picture.mode != "RGB":
            yield ToRGB()(picture)


class ImageClassifier(VisionHandler):
    """Names what is in a picture: the `topk` most probable classes with their probabilities."""

    topk = 5
    image_processing = IMAGENET_PROCESSING

    def set_max_result_classes(self, topk: int) -> None:
        """How many classes an answer names."""
        self.topk = topk

    def get_max_result_classes(self) -> int:
        """How many classes an answer names."""
        return self.topk

    @names_classes
    @timed
    def postprocess(self, data: Any) -> Any:
        """One {label: probability} per request, most probable first, from logits (N, classes)."""
        probabilities = torch.nn.functional.softmax(data, dim=1)
        values, classes = torch.topk(probabilities, min(self.topk, data.shape[1]), dim=1)
        return map_class_to_label(values.tolist(), self.mapping, classes.tolist())
