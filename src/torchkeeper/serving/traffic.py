"""Which version of a model answers a request: the one that it names, or the model's default.

The one place where requests are shared out among versions.
"""

from __future__ import annotations

from torchkeeper.models.registry import Models
from torchkeeper.models.version import ModelVersion


class Traffic:
    """Shares requests out."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def version_for(self, name: str, version: str | None) -> ModelVersion:
        """The version that answers a request to a model (None: it names no version).

        Raises:
            ModelNotFound, ModelVersionNotFound: it is not here.
        """
        return self._models.find(name, version)
