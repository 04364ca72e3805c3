"""The least that an ASGI application can do with a request: reads its body and answers with it.

What uvicorn costs with it is what a server in Python pays for HTTP and asyncio alone (bench/front_cost.py).
"""

from __future__ import annotations

from typing import Any


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """One request; other scopes are refused, so that uvicorn does without a lifespan."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    chunks = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        chunks.append(message["body"])
        more = message["more_body"]
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
