"""What a row of the table of settings is: name, form, default and meaning, and how its text becomes a value.

Pure: a text in, a value or a ValueError out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from torchkeeper.config.types import Form

T = TypeVar("T")


class Effect(Enum):
    """What becomes of a key."""

    WORKS = "works"
    #: The feature is not here yet.
    LATER = "later"
    #: Nothing here needs it.
    NONE = "none"
    #: TorchServe writes it into snapshots: nothing is said of it.
    RECORD = "record"


@dataclass(frozen=True)
class Read(Generic[T]):
    """A value, and what there is to say if the text was none and TorchServe starts with it all the same."""

    value: T
    complaint: str = ""
    #: What is used instead.
    instead: str = ""


@dataclass(frozen=True)
class SettingKey:
    """One key of config.properties."""

    name: str
    form: Form[Any]
    default: str
    meaning: str
    effect: Effect = Effect.WORKS
    #: The missing feature, or why nothing needs the key.
    why: str = ""
    env: str = ""
    #: Keys outside TorchServe's documented table cannot be set through the environment.
    from_env: bool = True
    #: Read from the environment also without enable_envvars_config.
    always_env: bool = False
    from_file: bool = True
    #: Never printed, never handed to workers.
    secret: bool = False
    #: TorchServe does not have it, so that nothing has to be read as leniently as there.
    own: bool = False
    #: Whether its text is JSON about models.
    json: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of this key."""
        return self.env or "TS_" + self.name.upper()

    @property
    def barred(self) -> str:
        """Why a file may not say it; empty where one may."""
        if self.from_file:
            return ""
        return (
            f"does not belong in a file like this one; use {self.name}_file or the variable {self.variable}"
        )

    def read(self, text: str) -> Read[Any]:
        """The value of a text.

        Raises:
            ValueError: it is none; says what it must be.
        """
        try:
            return self._read(text)
        except ValueError as error:
            if self.effect is Effect.WORKS:
                raise
            return Read(self.form.parse(self.default), str(error), "it is ignored")

    def _read(self, text: str) -> Read[Any]:
        try:
            return Read(self.form.parse(text))
        except ValueError as error:
            if self.form.lenient is None or self.own:
                raise
            instead = self.form.lenient(text)
            return Read(instead.value, str(error), instead.said)


def key(
    form: Form[T],
    default: str,
    meaning: str,
    effect: Effect = Effect.WORKS,
    why: str = "",
    **more: Any,
) -> T:
    """A row of the table: the field of a key, for whose type the form stands."""
    row = {"form": form, "default": default, "meaning": meaning, "effect": effect, "why": why, **more}
    return field(default_factory=lambda: form.parse(default), metadata=row)
