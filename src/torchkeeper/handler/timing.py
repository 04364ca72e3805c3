"""Times a handler's steps when its model-config.yaml asks for it (`handler: {profile: true}`).

Owns the decorator only; where the numbers go is the recorder's business. Source: TorchServe's `@timed`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])


def _wanted(handler: Any) -> bool:
    config = getattr(getattr(handler, "context", None), "model_yaml_config", None) or {}
    section = config.get("handler")
    return isinstance(section, dict) and bool(section.get("profile"))


def _now() -> float:
    """Seconds; on a GPU only after the work in flight, which would otherwise be counted elsewhere."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # untyped in torch
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(func: F) -> F:
    """Decorator for a handler's method: records `ts_handler_<method>` in milliseconds, if asked for."""

    @functools.wraps(func)
    def measured(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _wanted(self):
            return func(self, *args, **kwargs)
        begin = _now()
        result = func(self, *args, **kwargs)
        self.context.metrics.add_time(f"ts_handler_{func.__name__}", (_now() - begin) * 1000)
        return result

    return cast(F, measured)
