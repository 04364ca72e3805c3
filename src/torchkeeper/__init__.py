"""torchkeeper: serves PyTorch models the TorchServe way, in pure Python.

Importing the package loads nothing heavy: neither torch nor the server.
"""

__version__ = "0.1.0"

#: The TorchServe release whose command lines, archives, handlers and APIs are kept.
TORCHSERVE_VERSION = "0.12.0"

#: The Java class whose name is an argument of TorchServe's process: what starts it looks there for it.
TS_NAMESPACE = "org.pytorch.serve.ModelServer"
