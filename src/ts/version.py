"""TorchServe's version number, of the release that is kept compatible."""

from torchkeeper import TORCHSERVE_VERSION as __version__

__all__ = ["__version__"]
