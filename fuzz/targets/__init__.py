"""All targets by name."""

from __future__ import annotations

from targets import archives, bodies, configuration, frames, pickles, requests
from targets.target import Target, mutated

__all__ = ["TARGETS", "Target", "mutated"]

TARGETS: dict[str, Target] = {
    "requests": requests.TARGET,
    "bodies": bodies.TARGET,
    "archives": archives.TARGET,
    "frames": frames.TARGET,
    "configuration": configuration.TARGET,
    "pickles": pickles.TARGET,
}
