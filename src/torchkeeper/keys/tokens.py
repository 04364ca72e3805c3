"""Token authorization: three keys, what each is good for, when it expires and how it is renewed.

Pure: the clock, the source of new keys and the place where they are written are handed in. Which key a
request needs is its route's to say. Source of the rules and texts: TorchServe's token authorization.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from torchkeeper.errors import BadRequest, InvalidKey, TorchkeeperError
from torchkeeper.keys.key import Key
from torchkeeper.keys.throttle import Throttle

#: The form of the Authorization header, TorchServe's: the word is case-sensitive, blanks are ASCII.
_BEARER = re.compile(r"Bearer\s+(\S+)", re.ASCII)
#: TorchServe's order in key_file.json.
KINDS = (Key.MANAGEMENT, Key.INFERENCE, Key.API)
#: What the token API's `type` may name, in any case.
_RENEWABLE = {"management": Key.MANAGEMENT, "inference": Key.INFERENCE}


def new_key() -> str:
    """A fresh key: 256 bits, URL-safe."""
    return secrets.token_urlsafe(32)


def bearer(authorization: str | None) -> str | None:
    """The key in an Authorization header; None if there is no header or it has another form."""
    match = _BEARER.fullmatch(authorization) if authorization is not None else None
    return match[1] if match is not None else None


@dataclass(frozen=True)
class TokenRules:
    """How keys are handled: `lifetime` in seconds, 401 and 403 for failures, who needs no key."""

    lifetime: float
    strict: bool = False
    protect_probes: bool = False
    open_inference: bool = False


@dataclass(frozen=True)
class _Held:
    """A key in force. No time of expiry: it lives as long as the server. Given: it came from outside."""

    key: str
    expires: float | None = None
    given: bool = False

    def fits(self, key: str, now: float) -> bool:
        same = hmac.compare_digest(key.encode(), self.key.encode())
        return same and (self.expires is None or now < self.expires)


class Tokens:
    """The keys in force, and who may do what with them."""

    def __init__(
        self,
        rules: TokenRules,
        given: Mapping[Key, str],
        *,
        clock: Callable[[], float],
        fresh: Callable[[], str],
        save: Callable[[str], None],
    ) -> None:
        """`given` keys are never renewed here; `clock` is wall time; `save` gets key_file.json's text."""
        self._rules = rules
        self._clock = clock
        self._fresh = fresh
        self._save = save
        self._throttle = Throttle()
        now = clock()
        self._keys = {
            kind: _Held(given[kind], given=True) if kind in given else self._made(kind, now) for kind in KINDS
        }

    def publish(self) -> bool:
        """Writes the keys that were made here; False if all were given and there is nothing to write.

        Raises:
            OSError: they cannot be written.
        """
        text = self._document(self._keys)
        if text is None:
            return False
        self._save(text)
        return True

    def check(self, need: Key, authorization: str | None, client: str, now: float | None = None) -> float:
        """Seconds that a request with the right key for its route must wait, nearly always 0.

        Raises:
            InvalidKey: the answer, with the seconds that it must wait.
        """
        if self._is_open(need):
            return 0.0
        need = Key.INFERENCE if need is Key.PROBE else need
        now = self._clock() if now is None else now
        key = bearer(authorization)
        if key is None:  # not a guess: a browser, a probe
            raise self._refusal(need, 401, 0.0)
        if not self._keys[need].fits(key, now):
            raise self._refusal(need, 403, self._throttle.failed(client, now))
        return self._throttle.passed(client, now)

    def at_once(self, need: Key, authorization: str | None, client: str, now: float | None = None) -> bool:
        """Whether `check` would let a request on without a wait; a wrong key is no guess yet."""
        if self._is_open(need):
            return True
        now = self._clock() if now is None else now
        key, held = bearer(authorization), self._keys[Key.INFERENCE if need is Key.PROBE else need]
        return key is not None and held.fits(key, now) and not self._throttle.passed(client, now)

    def _is_open(self, need: Key) -> bool:
        """Whether no key is asked for."""
        if need is Key.PROBE:
            return not self._rules.protect_probes or self._rules.open_inference
        return need is Key.NONE or (need is Key.INFERENCE and self._rules.open_inference)

    def rotate(self, kind: str | None, now: float | None = None) -> None:
        """Renews the management or inference key and writes it, for a request whose API key was checked.

        The old key holds until the new one is written.

        Raises:
            InvalidKey: `kind` names no key that can be renewed.
            BadRequest: that key was given from outside.
            TorchkeeperError: the new key cannot be written.
        """
        now = self._clock() if now is None else now
        wanted = _RENEWABLE.get((kind or "").lower())
        if wanted is None:
            raise InvalidKey(renewal=True, cause="type must be management or inference")
        if self._keys[wanted].given:
            variable = f"TS_{wanted.name}_KEY"
            raise BadRequest(
                f"The {wanted.value} key was given by {variable} or {variable}_FILE; renew it there."
            )
        keys = {**self._keys, wanted: self._made(wanted, now)}
        text = self._document(keys)
        try:
            self._save(text or "")
        except OSError as error:
            raise TorchkeeperError(
                "The key was not renewed: the key file cannot be written.", cause=error.strerror
            ) from None
        self._keys = keys

    def _refusal(self, need: Key, strict_status: int, delay: float) -> InvalidKey:
        status = strict_status if self._rules.strict else 400
        return InvalidKey(renewal=need is Key.API, status=status, delay=delay)

    def _made(self, kind: Key, now: float) -> _Held:
        return _Held(self._fresh(), None if kind is Key.API else now + self._rules.lifetime)

    @staticmethod
    def _document(keys: Mapping[Key, _Held]) -> str | None:
        """The text of key_file.json, TorchServe's form; None if every key was given from outside."""
        shown = {
            kind.value: {"key": held.key}
            | ({} if held.expires is None else {"expiration time": _instant(held.expires)})
            for kind, held in keys.items()
            if not held.given
        }
        return json.dumps(shown, indent=2) if shown else None


def _instant(seconds: float) -> str:
    """A point in time as Java's Instant writes it: ISO 8601, UTC, microseconds here."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
