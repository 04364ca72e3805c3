"""The version of TorchServe's archiver that this one is compatible with."""

from torchkeeper import TORCHSERVE_VERSION as __version__

__all__ = ["__version__"]
