"""The kinds of keys: what a token is good for, and what a route or a call needs."""

from __future__ import annotations

import enum


class Key(enum.Enum):
    """Which token a request needs when token authorization is on."""

    NONE = "none"
    PROBE = "probe"
    INFERENCE = "inference"
    MANAGEMENT = "management"
    API = "API"
