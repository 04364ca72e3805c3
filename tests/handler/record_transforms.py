"""Records what torchvision's transforms make of some pictures, for test_transforms.py to compare with.

Run by hand, when a transform or a picture is added (torchvision is no dependency, not even of tests):

    pip install --no-deps --target DIR torchvision==0.28.0
    PYTHONPATH=DIR python tests/handler/record_transforms.py > tests/data/transforms.json
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL import __version__ as pillow_version

#: name -> (mode, width, height); the content is `picture`'s.
PICTURES = {
    "digit": ("L", 28, 28),
    "wide": ("RGB", 61, 37),
    "tall": ("RGB", 301, 517),
    "large": ("RGB", 640, 427),
    "exact": ("RGB", 256, 300),
    "alpha": ("RGBA", 33, 47),
    "grey_alpha": ("LA", 19, 23),
    "bits": ("1", 21, 13),
    "palette": ("P", 40, 30),
    "ints": ("I", 17, 29),
    "shorts": ("I;16", 17, 29),
    "floats": ("F", 15, 31),
    "cmyk": ("CMYK", 25, 22),
    "dot": ("RGB", 1, 1),
}

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

#: name -> list of [transform, arguments]; each ends in a tensor.
PIPELINES: dict[str, list[list[Any]]] = {
    "tensor": [["ToTensor", {}]],
    "mnist": [["ToTensor", {}], ["Normalize", {"mean": [0.1307], "std": [0.3081]}]],
    "imagenet": [
        ["Resize", {"size": 256}],
        ["CenterCrop", {"size": 224}],
        ["ToTensor", {}],
        ["Normalize", {"mean": MEAN, "std": STD}],
    ],
    "shrink": [["Resize", {"size": 20}], ["ToTensor", {}]],
    "exact_size": [["Resize", {"size": [31, 45]}], ["ToTensor", {}]],
    "bounded": [["Resize", {"size": 40, "max_size": 50}], ["ToTensor", {}]],
    "crop": [["CenterCrop", {"size": [24, 18]}], ["ToTensor", {}]],
    "crop_odd": [["CenterCrop", {"size": 33}], ["ToTensor", {}]],
}

#: Which picture goes through which pipelines.
CASES = {
    "digit": ["tensor", "mnist", "shrink", "crop", "crop_odd"],
    "wide": ["tensor", "imagenet", "shrink", "exact_size", "bounded", "crop", "crop_odd"],
    "tall": ["imagenet", "bounded", "crop"],
    "large": ["imagenet"],
    "exact": ["imagenet"],
    "alpha": ["tensor", "shrink", "crop", "crop_odd"],
    "grey_alpha": ["tensor", "shrink", "crop"],
    "bits": ["tensor", "shrink", "crop"],
    "palette": ["tensor", "crop_odd", "shrink"],
    "ints": ["tensor", "shrink", "crop"],
    "shorts": ["tensor", "crop"],
    "floats": ["tensor", "shrink", "crop"],
    "cmyk": ["tensor", "shrink", "crop"],
    "dot": ["tensor", "imagenet", "crop"],
}


def picture(name: str) -> Image.Image:
    """A picture of scrambled pixels that depend on its name's place in the table, and on nothing else."""
    mode, width, height = PICTURES[name]
    if mode == "P":
        return _picture("RGB", width, height, 9).quantize(16, dither=Image.Dither.NONE)
    return _picture(mode, width, height, list(PICTURES).index(name))


def _picture(mode: str, width: int, height: int, seed: int) -> Image.Image:
    bands = len(mode) if mode in ("RGB", "RGBA", "LA", "CMYK") else 1
    y, x, c = np.mgrid[0:height, 0:width, 0:bands].astype(np.uint64)
    mixed = (x * 374761393 + y * 668265263 + c * 2246822519 + seed * 3266489917) * 2654435761
    values = (mixed >> 15) & 0xFFFF
    if mode == "1":
        return Image.fromarray((values[:, :, 0] % 256).astype(np.uint8)).point(lambda v: 255 * (v > 127), "1")
    if mode == "I":
        return Image.fromarray(values[:, :, 0].astype(np.int32))
    if mode == "I;16":
        return Image.fromarray(values[:, :, 0].astype(np.uint16))
    if mode == "F":
        return Image.fromarray(values[:, :, 0].astype(np.float32) / np.float32(7))
    pixels = (values % 256).astype(np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def describe(tensor: torch.Tensor) -> dict[str, Any]:
    """What is kept of a result: shape, type, a checksum of all its bytes, and a few values to read."""
    array = np.ascontiguousarray(tensor.numpy())
    places = np.linspace(0, array.size - 1, 5).astype(int)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        "values": [array.reshape(-1)[place].item() for place in places],
    }


def main() -> None:
    """Prints the records as JSON."""
    schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    # The wheel's compiled operators need not load here, but their fake kernels want the schemas.
    for operator in ("torchvision::nms", "torchvision::qnms"):
        torch.library.define(operator, schema)
    torchvision = importlib.import_module("torchvision")
    transforms = importlib.import_module("torchvision.transforms")

    results = {
        name: {
            pipeline: describe(
                transforms.Compose(
                    [getattr(transforms, step)(**given) for step, given in PIPELINES[pipeline]]
                )(picture(name))
            )
            for pipeline in pipelines
        }
        for name, pipelines in CASES.items()
    }
    made_by = (
        "tests/handler/record_transforms.py: the pictures and pipelines of its tables, through torchvision"
    )
    versions = {"torchvision": torchvision.__version__, "torch": torch.__version__, "pillow": pillow_version}
    json.dump({"made_by": made_by, "versions": versions, "results": results}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
