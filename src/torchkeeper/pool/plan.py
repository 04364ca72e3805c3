"""What a pool is told of its model version, once. Pure."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from torchkeeper.config.execution_rules import loads_apart
from torchkeeper.config.model_settings import ModelSettings
from torchkeeper.pool.launcher import Launch


@dataclass(frozen=True)
class Plan:
    """What the pool needs to know of a model version."""

    label: str
    settings: ModelSettings
    max_response_size: int
    launch: Launch
    #: Whether clients of a worker that does not answer in time are told of that by the status.
    strict_statuses: bool = False
    #: Whether its workers get GPUs.
    on_gpu: bool = False

    @property
    def imports_apart(self) -> str:
        """Why each worker imports its handler for itself from the outset; empty: it need not."""
        if not self.settings.share_imports:
            return "shareImports is false"
        if not self.settings.preload:
            return "preload is false"
        if self.launch.strict:
            return "the sandbox is strict: nothing is shared"
        return "" if sys.platform == "linux" else f"workers are not forked on {sys.platform}"

    @property
    def weights_apart(self) -> str | None:
        """Why each worker loads for itself from the outset; empty: it need not; None: nobody asks."""
        if not self.settings.share_weights:
            return None
        if self.on_gpu:
            return "its workers have GPUs, and CUDA cannot be forked once it is used"
        return loads_apart(self.settings.raw)
