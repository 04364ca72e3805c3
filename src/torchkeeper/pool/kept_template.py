"""A template that is there when a worker is to be forked: begun when one first is, and after its death."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from torchkeeper.pool.orphans import OnEnd
from torchkeeper.pool.template_link import TemplateLink


class Unwanted(OSError):
    """No process is made, because nobody would use it."""


class KeptTemplate:
    """One template process at a time, all in the same environment."""

    def __init__(self, environ: Mapping[str, str], on_end: OnEnd) -> None:
        self._environ = environ
        self._on_end = on_end
        self._link: TemplateLink | None = None
        self._starting: asyncio.Task[TemplateLink] | None = None
        self._stopped = False

    async def get(self) -> TemplateLink:
        """The living template; all who want one while it starts wait for the same one.

        Raises:
            OSError: it cannot be started.
        """
        starting = self._starting
        if starting is None or (starting.done() and not (self._link is not None and self._link.alive)):
            starting = self._starting = asyncio.get_running_loop().create_task(self._start())
            starting.add_done_callback(seen)
        return await asyncio.shield(starting)

    async def _start(self) -> TemplateLink:
        if self._stopped:
            raise Unwanted("the server stops")
        self._link = TemplateLink(self._environ, self._on_end)
        await self._link.start()
        return self._link

    async def stop(self) -> None:
        """Ends it, within its deadlines; there is no other one any more."""
        self._stopped = True
        if self._link is not None:
            await self._link.stop()
        if self._starting is not None:
            await asyncio.wait({self._starting})


def seen(task: asyncio.Task[Any]) -> None:
    """What failed has been told of by those who waited for it, if there still are any."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
