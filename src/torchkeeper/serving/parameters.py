"""The parameters of management requests: typed and bounded, whatever the protocol they came by.

Pure. The same types are the schemas of the OpenAPI document. Source of names and defaults: TorchServe's
management API. Unlike there, a value that does not fit is a 400 that names it, and nothing changes.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar, cast

import msgspec

from torchkeeper.config.model_settings import TABLE
from torchkeeper.errors import BadRequest

_Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]

T = TypeVar("T", bound=msgspec.Struct)


class Registration(msgspec.Struct, frozen=True):
    """What `POST /models` says of an archive; `Register` has the model's settings as well."""

    url: str | None = None
    model_name: str | None = None
    handler: str | None = None
    synchronous: bool = True
    s3_sse_kms: bool = False


#: `POST /models`: the settings are those of the table that registrations can name.
Register = cast(
    type[Registration],
    msgspec.defstruct(
        "Register",
        [(row.parameter, row.rule.parameter | None, None) for row in TABLE if row.parameter],
        bases=(Registration,),
        namespace={"__doc__": "`POST /models`."},
        frozen=True,
    ),
)


class Scale(msgspec.Struct, frozen=True):
    """`PUT /models/{model_name}`. As in TorchServe, `number_gpu` and `timeout` have no effect."""

    min_worker: _Count = 1
    max_worker: _Count | None = None
    synchronous: bool = False
    model_version: str | None = None
    number_gpu: int | None = None
    timeout: int | None = None


class Describe(msgspec.Struct, frozen=True):
    """`GET /models/{model_name}`."""

    customized: bool = False
    setting_origins: bool = False


class Page(msgspec.Struct, frozen=True):
    """`GET /models`. A limit outside 0 to 100 counts as 100, as in TorchServe."""

    limit: int = 100
    next_page_token: _Count = 0
    #: The same under the name that answers give it: who asks so got the first page for ever from TorchServe.
    nextPageToken: _Count | None = None

    @property
    def start(self) -> int:
        """The number of the first model."""
        return self.next_page_token if self.nextPageToken is None else self.nextPageToken


def fitting(kind: type[T], values: dict[str, object]) -> T:
    """The parameters with these values, typed.

    Raises:
        BadRequest: a value does not fit; it is named.
    """
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(_sentence(str(error), values)) from None
    except RecursionError:
        raise BadRequest("A parameter is nested too deeply.") from None


def _sentence(text: str, values: dict[str, object]) -> str:
    """msgspec's complaint with the parameter's name in front: "Expected `int`, got `str` - at `$.limit`"."""
    what, _, where = text.partition(" - at ")
    named = re.search(r"\$\.(\w+)", where)
    if named is None:
        return text
    value = str(values.get(named[1], ""))[:100]
    if what.startswith("Invalid enum value"):
        what = next(f"Expected {row.rule.wanted}" for row in TABLE if row.parameter == named[1])
    return f"Invalid value for parameter {named[1]}: {value!r}. {what.replace('`', '')}."
