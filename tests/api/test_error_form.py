"""An error's form is its route's dialect's."""

from __future__ import annotations

import json

import pytest

from torchkeeper.api.error_form import ERROR_FORMS
from torchkeeper.api.routes import ROUTES, dialect_of
from torchkeeper.errors import BadRequest, ServiceUnavailable, TorchkeeperError
from torchkeeper.serving.dialect import Dialect

TORCHSERVE = b"""{
  "code": 400,
  "type": "BadRequestException",
  "message": "no"
}
"""


def test_every_dialect_has_a_form() -> None:
    assert set(ERROR_FORMS) == set(Dialect)


@pytest.mark.parametrize(
    ("dialect", "error", "body"),
    [
        (Dialect.TORCHSERVE, BadRequest("no"), TORCHSERVE),
        (
            Dialect.TORCHSERVE,
            BadRequest("no", cause="why"),
            TORCHSERVE.replace(b'"no"', b'"no",\n  "cause": "why"'),
        ),
        (Dialect.KSERVE_V1, BadRequest("no"), b'{"error":"no"}'),
        (Dialect.OPEN_INFERENCE, ServiceUnavailable("No.", cause="why"), b'{"error":"No: why"}'),
    ],
)
def test_an_error_in_the_words_of_its_clients(dialect: Dialect, error: TorchkeeperError, body: bytes) -> None:
    assert ERROR_FORMS[dialect].body(error) == body
    assert json.loads(body)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.pattern)
def test_what_leads_nowhere_speaks_the_dialect_of_its_neighbours(route: object) -> None:
    assert dialect_of(route.pattern.encode()) is route.dialect  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        (b"/v1", Dialect.KSERVE_V1),
        (b"/v2?x=1", Dialect.OPEN_INFERENCE),
        (b"/v2/nothing", Dialect.OPEN_INFERENCE),
        (b"/v22/nothing", Dialect.TORCHSERVE),
        (b"/predictions/v1", Dialect.TORCHSERVE),
        (b"", Dialect.TORCHSERVE),
        (b"*", Dialect.TORCHSERVE),
    ],
)
def test_strangers(path: bytes, dialect: Dialect) -> None:
    assert dialect_of(path) is dialect
