"""Dialects: whose clients read an answer, and so in which form an error reaches them."""

from __future__ import annotations

import enum


class Dialect(enum.Enum):
    """The protocol family that a route or a service belongs to."""

    TORCHSERVE = "TorchServe"
    KSERVE_V1 = "KServe v1"
    OPEN_INFERENCE = "Open Inference Protocol"
