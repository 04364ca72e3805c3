"""The table of built-in handlers: each row leads to a class."""

from __future__ import annotations

import importlib

import pytest

from torchkeeper.handler.builtin import BUILTIN
from torchkeeper.handler.errors import PredictionException


@pytest.mark.parametrize("name", BUILTIN)
def test_each_row_leads_to_a_handler(name: str) -> None:
    module, _, attribute = BUILTIN[name].partition(":")
    handler = getattr(importlib.import_module(module), attribute)
    assert callable(handler.initialize)
    assert callable(handler.handle)


def test_a_prediction_exception_shows_message_and_code() -> None:
    error = PredictionException("no such picture", 404)
    assert (error.message, error.error_code) == ("no such picture", 404)
    assert str(error) == "no such picture : 404"
    assert PredictionException("x").error_code == 500
