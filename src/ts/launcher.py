"""A server started and stopped from Python; see torchkeeper.client.control."""

from torchkeeper.client.control import register_model as register_model
from torchkeeper.client.control import register_model_with_params as register_model_with_params
from torchkeeper.client.control import start as start
from torchkeeper.client.control import stop as stop
from torchkeeper.handler import left_out as _left_out

__getattr__ = _left_out.refusing(__name__)

__all__ = ["register_model", "register_model_with_params", "start", "stop"]
