"""The command `torchserve` as a function; see torchkeeper.cli and .client.control."""

from torchkeeper.cli import start as start
from torchkeeper.client.control import TS_NAMESPACE as TS_NAMESPACE
from torchkeeper.client.control import load_properties as load_properties
from torchkeeper.handler import left_out as _left_out
from ts.version import __version__ as __version__

__getattr__ = _left_out.refusing(__name__)

__all__ = ["TS_NAMESPACE", "__version__", "load_properties", "start"]

if __name__ == "__main__":
    start()
