"""The endpoint that renews a key. Source: TorchServe's token API."""

from __future__ import annotations

from collections.abc import Mapping

from torchkeeper.api.body import USUAL, FormLimits, parse_query
from torchkeeper.api.call import Call, Handler
from torchkeeper.api.routes import Endpoint
from torchkeeper.keys.tokens import Tokens
from torchkeeper.wire.messages import Reply


class TokenApi:
    """`/token?type=management` or `type=inference`; its route asks for the API key."""

    def __init__(self, tokens: Tokens, forms: FormLimits = USUAL) -> None:
        self._tokens = tokens
        self._forms = forms

    def endpoints(self) -> Mapping[Endpoint, Handler]:
        """What this API serves."""
        return {Endpoint.TOKEN: self._renew}

    async def _renew(self, call: Call) -> Reply:
        query = {part.name: part.value for part in parse_query(call.scope["query_string"], self._forms)}
        kind = query.get("type", b"").decode("latin-1")
        self._tokens.rotate(kind)
        return Reply(b"\n")
