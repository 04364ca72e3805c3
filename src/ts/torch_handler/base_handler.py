"""The base of all handlers; see torchkeeper.handler.base."""

from torchkeeper.handler.base import BaseHandler as BaseHandler

__all__ = ["BaseHandler"]
