"""torchkeeper: serves PyTorch models the TorchServe way, in pure Python.

Importing the package loads nothing heavy: neither torch nor the server.
"""

__version__ = "0.1.0"

#: The TorchServe release whose command lines, archives, handlers and APIs are kept.
TORCHSERVE_VERSION = "0.12.0"

#: The Java classes whose names are arguments of TorchServe's and Multi Model Server's processes: what starts
#: these looks there for them.
TS_NAMESPACE, MMS_NAMESPACE = "org.pytorch.serve.ModelServer", "com.amazonaws.ml.mms.ModelServer"
