"""A policy whose decisions can always be obeyed: what cannot is said once, and the simplest one taken."""

from __future__ import annotations

import logging

from torchkeeper.engine.batching.policy import Policy, Send, View, first_come, objection

logger = logging.getLogger(__name__)


class Obeyed:
    """Asks a policy, and checks what it says."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        #: What was wrong with its last decision that could not be obeyed.
        self._objected: str | None = None

    def decide(self, view: View, now: float) -> Send | float | None:
        """The policy's decision, or one request to an idle worker where that cannot be obeyed."""
        decision = self._policy.decide(view, now)
        why = objection(decision, view, now)
        if why is None:
            return decision
        if why != self._objected:
            self._objected = why
            logger.error("the batching policy %s wanted %s", type(self._policy).__name__, why)
        return first_come(view)
