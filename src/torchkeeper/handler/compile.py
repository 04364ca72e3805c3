"""torch.compile for a loaded model, as its model-config.yaml asks under `pt2`.

Owns the reading of that key and nothing else. A model that cannot be compiled is served as it is, with a
warning. Source: TorchServe's `pt2: {compile: {enable: true, ...}}` and its two older forms.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from torchkeeper.handler.helpers import check_valid_pt2_backend
from torchkeeper.handler.served_model import ServedModel

logger = logging.getLogger(__name__)


def compile_options(config: dict[str, Any]) -> dict[str, Any] | None:
    """Keyword arguments of torch.compile, or None when the model shall stay as it is.

    Raises:
        ValueError: `pt2` is neither text nor a mapping.
    """
    pt2 = config.get("pt2")
    if pt2 is None:
        return None
    if isinstance(pt2, str):
        return {"backend": pt2}
    if not isinstance(pt2, dict):
        raise ValueError(f"pt2 in model-config.yaml must be text or a mapping, not {pt2!r}")
    if "compile" not in pt2:
        return None if "export" in pt2 else dict(pt2)
    options = dict(pt2["compile"] or {})
    return options if options.pop("enable", False) is True else None


def compiled(model: Any, config: dict[str, Any]) -> Any:
    """The model, compiled if `config` (the whole model-config.yaml) asks for it and torch can do it."""
    options = compile_options(config)
    if options is None or ("backend" in options and not check_valid_pt2_backend(options["backend"])):
        return model
    if isinstance(model, ServedModel):
        logger.warning("A model without source is not compiled here, it runs as its file says")
        return model
    text = ", ".join(f"{name} {value}" for name, value in options.items())
    try:
        result = torch.compile(model, **options)
    except (RuntimeError, TypeError, ValueError, ImportError) as error:
        logger.warning("Compiling the model with %s has failed, it runs uncompiled: %s", text, error)
        return model
    logger.info("Compiled model with %s", text)
    return result
