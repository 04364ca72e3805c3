"""What one version's workers import, and load: by the first, and shared with the others where that can be."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from torchkeeper.pool.model_link import ModelLink

logger = logging.getLogger(__name__)


class Sharing:
    """Who has imported the version's handler, or does so now; the workers that come meanwhile wait for it."""

    def __init__(self, label: str, why_not: str = "", why_no_weights: str | None = None) -> None:
        """
        Args:
            why_not: why each worker imports for itself from the outset; empty: it need not.
            why_no_weights: why each loads the model for itself; empty: it need not. None: nobody has asked.
        """
        self._label = label
        self._why_not = why_not
        self._asked = why_no_weights is not None
        self._why_no_weights = why_no_weights or ""
        self._link: ModelLink | None = None
        self._importing: asyncio.Event | None = None
        self._resting = False

    @property
    def imports(self) -> dict[str, Any]:
        """For the description of the model; nothing while it is not known."""
        if self._why_not:
            return {"shared": False, "why": self._why_not}
        return {} if self._link is None else {"shared": True, "pid": self._link.pid}

    @property
    def weights(self) -> dict[str, Any]:
        """The same of the model that they run; nothing where nobody has asked for it to be shared."""
        if not self._asked:
            return {}
        if why := self._why_not or self._why_no_weights:
            return {"shared": False, "why": why}
        return {} if self._link is None else {"shared": True}

    @property
    def with_weights(self) -> bool:
        """Whether the first worker loads the model for all."""
        return self._asked and not self._why_no_weights

    async def ready(self) -> ModelLink | None:
        """The process to fork from, None where there is none; waits while one may become that.

        Of those who wait for a first worker that fails, one goes on and may `claim`, before others run;
        the others wait for that one.
        """
        while self._importing is not None:
            await self._importing.wait()
        return self._link

    def claim(self) -> bool:
        """Whether the caller's worker is the first, whose import others wait for."""
        if self._why_not or self._link is not None or self._importing is not None:
            return False
        self._importing, self._resting = asyncio.Event(), False
        return True

    def release(self) -> None:
        """A first worker's import is not waited for any longer: it is settled, or will never be."""
        if self._importing is not None:
            self._importing.set()
            self._importing = None

    def settle(self, link: ModelLink, why_not: str, weights: bool) -> None:
        """What a first worker has made is shared, or is not: with `weights` the model that it has loaded."""
        if why_not and weights:
            self._why_no_weights = why_not
            logger.warning("workers of %s load the model for themselves: %s", self._label, why_not)
        elif why_not:
            self._why_not = why_not
            logger.info("workers of %s import for themselves: %s", self._label, why_not)
        else:
            self._link = link
            what = "loaded" if self.with_weights else "imported"
            logger.info("workers of %s share what process %d has %s", self._label, link.pid, what)
        self.release()
        if self._resting:
            self.rest()

    def lose(self, link: ModelLink) -> None:
        """A process that imported forks no workers any more, or never will."""
        if self._link is link:
            self._link = None
        else:
            self.release()

    def rest(self) -> None:
        """There are no workers: nobody keeps imports for them, until there are."""
        self._resting = True
        if self._link is not None:
            self._link.dismiss()
