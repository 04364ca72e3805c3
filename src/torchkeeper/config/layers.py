"""What each layer of the configuration says, one over the other, and how their texts become values. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchkeeper.config.setting_key import SettingKey
from torchkeeper.config.table import BY_NAME, KEYS
from torchkeeper.errors import SettingsError

#: What must be true for the environment's allowed_urls to count.
_TO_TAKE_URLS = ("enable_envvars_config", "use_env_allowed_urls")
#: The defaults of keys where `strict` is on.
STRICT = {
    "strict_config": "true",
    "strict_http_auth": "true",
    "strict_statuses": "true",
    "sandbox": "strict",
    "allowed_urls": "",
}
#: Characters of a bad value that its error repeats.
_SHOWN = 100


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: a default, a file and line, the command line or the environment."""

    kind: str
    source: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{self.kind} {place}".strip()


def hint(unknown: str) -> str:
    """The known key that an unknown one was meant to be, as the end of a sentence; or nothing."""
    near = difflib.get_close_matches(unknown, BY_NAME, n=1)
    return f"; did you mean {near[0]}?" if near else ""


class Layers:
    """The text of every key and where it comes from, each layer over the one before."""

    def __init__(self, keys: Sequence[SettingKey] = KEYS) -> None:
        self._keys = keys
        self.texts: dict[str, tuple[str, Origin]] = {
            key.name: (key.default, Origin("default")) for key in keys
        }

    def give(self, name: str, text: str, origin: Origin) -> None:
        """A further layer says that."""
        self.texts[name] = (text, origin)

    def is_on(self, name: str) -> bool:
        """Whether a boolean key holds; one that cannot be read does not."""
        try:
            return BY_NAME[name].read(self.texts[name][0]).value is True
        except ValueError:
            return False

    def take_environment(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """The environment's layer; returns the names of the keys that it gives.

        The rule on allowed_urls comes last: it is asked of what holds in the end, whoever says so.
        """
        every = self.is_on("enable_envvars_config")
        given = [
            key
            for key in self._keys
            if key.from_env and (every or key.always_env) and key.variable in environ
        ]
        taken = []
        for key in sorted(given, key=lambda key: key.name == "allowed_urls"):
            if key.name != "allowed_urls" or self.is_on("use_env_allowed_urls"):
                self.give(key.name, environ[key.variable], Origin("environment", key.variable))
                taken.append(key.name)
        return tuple(taken)

    def be_strict(self) -> tuple[str, ...]:
        """With `strict` on, what nobody has set gets its strict default; returns the names of those keys."""
        changed = [name for name in STRICT if self.is_on("strict") and self.texts[name][1].kind == "default"]
        for name in changed:
            self.give(name, STRICT[name], Origin("default", "under strict"))
        return tuple(changed)

    def barred_urls(self, environ: Mapping[str, str]) -> str | None:
        """Why the environment's allowed_urls do not count; None if they do, or there are none."""
        variable = BY_NAME["allowed_urls"].variable
        if variable not in environ or self.texts["allowed_urls"][1].kind == "environment":
            return None
        lacks = next(name for name in _TO_TAKE_URLS if not self.is_on(name))
        return f"{variable} has no effect: {lacks} is not true"


class SettingReader:
    """Reads texts, collects complaints, and refuses what there is to complain of where the file is strict."""

    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings
        self._complaints: list[tuple[str, str]] = []

    def complain(self, what: str, instead: str) -> None:
        """TorchServe passes over this, and `instead` happens."""
        self._complaints.append((what, instead))

    def value(self, name: str, text: str, origin: Origin) -> Any:
        """The value of a key's text.

        Raises:
            SettingsError: there is none.
        """
        shown = " ".join(text.split()) if "\n" in text else text
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
        shown = "***" if BY_NAME[name].secret else shown
        place = f"{origin.source}:{origin.line}" if origin.line else origin.source or origin.kind
        try:
            read = BY_NAME[name].read(text)
        except ValueError as error:
            raise SettingsError(f"{name}={shown} ({place}): {error}") from None
        if read.complaint:
            self.complain(f"{name}={shown} ({place}): {read.complaint}", f"; {read.instead}")
        return read.value

    def close(self, *, strict: bool) -> None:
        """The complaints become warnings, or the first one an error.

        Raises:
            SettingsError: there is a complaint, and the configuration is strict.
        """
        if strict and self._complaints:
            raise SettingsError(f"{self._complaints[0][0]}; strict_config=true refuses it")
        self._warnings += [
            f"{what}{instead}; strict_config=true refuses it" for what, instead in self._complaints
        ]
