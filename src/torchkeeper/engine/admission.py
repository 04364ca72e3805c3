"""Whether a model version takes requests now, and in which words it does not."""

from __future__ import annotations

import time
from collections.abc import Callable

from torchkeeper.errors import QueueFull, ServiceUnavailable
from torchkeeper.pool.worker import NOBODY, Refusal


class Full(Exception):
    """No more requests are taken; the text says which bound was met."""


class Admission:
    """Open or closed, and whether somebody can be expected to serve.

    Args:
        sentence: TorchServe's sentence for a request that is not taken, by whether it named the version.
    """

    def __init__(self, sentence: Callable[[bool], str]) -> None:
        self._sentence = sentence
        #: Nothing is taken any more, or for now.
        self.closed = False
        #: Why nobody can be expected to serve; None while somebody can.
        self.nobody: Refusal | None = NOBODY

    def check(self, named: bool) -> None:
        """Returns where a request may be taken.

        Raises:
            ServiceUnavailable: it may not.
        """
        if self.closed:
            cause = "the model is scaled to 0 workers or being unregistered"
            raise ServiceUnavailable(self._sentence(named), cause=cause)
        if self.nobody is not None:
            raise self.unavailable(self.nobody, named)

    def unavailable(self, why: Refusal, named: bool = False) -> ServiceUnavailable:
        """The answer of a request that nobody can serve."""
        after = why.retry_after(time.monotonic())
        return ServiceUnavailable(self._sentence(named), cause=why.cause, retry_after=after)

    def late(self, timeout: float, after: int) -> ServiceUnavailable:
        """The answer of a request that has waited for longer than `timeout` seconds; `after`: come then."""
        cause = f"the request waited longer than clientTimeoutInMills ({timeout * 1000:g} ms)"
        return ServiceUnavailable(self._sentence(False), cause=cause, retry_after=after)

    def full(self, cause: str, named: bool, after: int) -> QueueFull:
        """The answer of a request for which there is no room, but is expected in so many seconds."""
        return QueueFull(self._sentence(named), cause=cause, retry_after=after)
