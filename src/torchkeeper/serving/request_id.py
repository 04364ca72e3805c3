"""Request ids: one for each request of each protocol."""

from __future__ import annotations

import itertools
from uuid import uuid4

#: The first 24 characters of this server's request ids: a UUID's, random for each server.
_SERVER = str(uuid4())[:24]
_numbers = itertools.count(1)


def new_request_id() -> str:
    """A unique id in a UUID's form (RFC 9562), no secret: the server's part and the request's number."""
    return f"{_SERVER}{next(_numbers):012x}"
