"""The table of built-in handlers: each row leads to a class, and those to come say so when they load."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from torchkeeper.handler.builtin import BUILTIN, READY
from torchkeeper.handler.errors import PredictionException
from torchkeeper.testing import run_handler


@pytest.mark.parametrize("name", BUILTIN)
def test_each_row_leads_to_a_handler(name: str) -> None:
    module, _, attribute = BUILTIN[name].partition(":")
    handler = getattr(importlib.import_module(module), attribute)
    assert callable(handler.initialize)
    assert callable(handler.handle)


@pytest.mark.parametrize("name", sorted(BUILTIN.keys() - READY.keys()))
def test_handlers_to_come_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match=f"the built-in handler '{name}' does not exist yet"):
        run_handler(name, [b""], model_dir=tmp_path)


def test_a_prediction_exception_shows_message_and_code() -> None:
    error = PredictionException("no such picture", 404)
    assert (error.message, error.error_code) == ("no such picture", 404)
    assert str(error) == "no such picture : 404"
    assert PredictionException("x").error_code == 500
