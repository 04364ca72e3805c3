"""Import names kept for code written for TorchServe; everything lives in torchkeeper."""

from ts.version import __version__ as __version__

__all__ = ["__version__"]
