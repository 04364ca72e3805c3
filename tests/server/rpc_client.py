"""Raw gRPC calls to a real server, with this project's messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from torchkeeper.rpc.schema import methods


class Client:
    """Raw calls by full method name, with this project's messages."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        # Each has a connection of its own; channels of one process to one target share one otherwise.
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )

    def __getitem__(self, place: tuple[str, str]) -> Callable[..., Any]:
        """Asks by `client[service, method](field=value)`."""
        method, call = self._call(*place)

        def ask(request: Any = None, timeout: float = 30, metadata: Any = None, **fields: Any) -> Any:
            sent = request if request is not None else method.request(**fields)
            return call(sent, timeout=timeout, metadata=metadata)

        return ask

    def future(self, service: str, name: str) -> Callable[..., Any]:
        """The same, of a unary method, but the answer comes by a future."""
        method, call = self._call(service, name)

        def begin(timeout: float = 30, **fields: Any) -> Any:
            return call.future(method.request(**fields), timeout=timeout)

        return begin

    def _call(self, service: str, name: str) -> tuple[Any, Any]:
        (method,) = (found for found in methods(service) if found.name == name)
        make = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, True): self.channel.stream_stream,
        }[method.streams_in, method.streams_out]
        return method, make(f"/{method.path}", method.request.SerializeToString, method.reply.FromString)


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    """Code and details of the error that a call ends in."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()
