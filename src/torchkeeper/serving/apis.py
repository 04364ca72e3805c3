"""The APIs that a server offers: what listeners of any protocol are opened for."""

from __future__ import annotations

import enum


class Api(enum.Flag):
    """What a listener serves; one address may serve several."""

    INFERENCE = enum.auto()
    MANAGEMENT = enum.auto()
    METRICS = enum.auto()
