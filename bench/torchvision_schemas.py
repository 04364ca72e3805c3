"""Lets torchvision's PyPI wheel be imported beside a CPU build of torch; benchmark environment only.

That wheel's compiled library needs CUDA and does not load, and then torchvision's Python part fails because
it registers fake kernels for two operators that nobody declared. This hook, installed by a .pth file,
declares their schemas the moment torchvision is first imported; processes that never import it pay nothing.
"""

import sys
from importlib.machinery import ModuleSpec


class _Declare:
    """A finder that finds nothing: it declares the schemas, takes itself away and lets the next one find."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            torch.library.define(
                "torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
            torch.library.define(
                "torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        return None


sys.meta_path.insert(0, _Declare())
