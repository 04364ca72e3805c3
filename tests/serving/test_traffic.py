"""Which version answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from torchkeeper.errors import ModelVersionNotFound
from torchkeeper.serving.traffic import Traffic


class Registry:
    """One model whose default version is 2."""

    def find(self, name: str, version: str | None) -> Any:
        if version not in (None, "1", "2"):
            raise ModelVersionNotFound(name, version)
        return SimpleNamespace(name=name, version=version or "2")


@pytest.mark.parametrize(("asked", "answers"), [(None, "2"), ("1", "1"), ("2", "2")])
def test_the_named_version_answers_else_the_default(asked: str | None, answers: str) -> None:
    traffic = Traffic(Registry())  # type: ignore[arg-type]  # what it uses of the registry
    assert traffic.version_for("m", asked).version == answers


def test_a_version_that_is_not_there() -> None:
    with pytest.raises(ModelVersionNotFound):
        Traffic(Registry()).version_for("m", "3")  # type: ignore[arg-type]  # what it uses of the registry
