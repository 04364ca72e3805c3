"""A finding: what becomes of one thing of a TorchServe set-up."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    """What becomes of it; the values are what is printed."""

    WORKS = "works"
    CHANGED = "changed"
    IGNORED = "ignored"
    UNKNOWN = "cannot know"
    BROKEN = "would not run"


@dataclass(frozen=True)
class Finding:
    """One thing and its verdict, with the reason: how it changes, why it is ignored or would not run."""

    #: A file with its line, or an archive.
    place: str
    #: A key, or a part of an archive.
    what: str
    verdict: Verdict
    why: str = ""
