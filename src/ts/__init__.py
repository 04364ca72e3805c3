"""Import names kept for code written for TorchServe; everything lives in torchkeeper."""

from torchkeeper.handler import left_out as _left_out
from ts import version as version
from ts.version import __version__ as __version__

_left_out.install()

__all__ = ["__version__", "version"]
