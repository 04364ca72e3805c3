"""The keys' way into the server and out of it: mounted files and the environment in, key_file.json out.

Owns key_file.json: born with mode 0600, replaced whole, removed by its absolute path. What a key is good for
it does not know. Source of name, place and form: TorchServe's token authorization.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from torchkeeper.config.settings import Settings
from torchkeeper.errors import SettingsError
from torchkeeper.keys.key import Key
from torchkeeper.keys.tokens import TokenRules, Tokens, new_key

NAME = "key_file.json"
#: Length of a key that is given from outside, in characters.
_SHORTEST, _LONGEST = 16, 4096


class KeyFile:
    """key_file.json in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / NAME
        #: Device and inode of what was written, so that another server's file is never removed.
        self._written: tuple[int, int] | None = None

    def write(self, text: str) -> None:
        """Replaces the file as a whole; nobody but its owner can read it at any moment.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        scratch = self.path.with_name(f".{NAME}.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(scratch, flags, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                found = os.fstat(file.fileno())
            scratch.replace(self.path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        self._written = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Removes the file, if it still is the one that was written here."""
        with contextlib.suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._written:
                self.path.unlink()


def start_tokens(
    settings: Settings,
    folder: Path,
    *,
    clock: Callable[[], float] = time.time,
    fresh: Callable[[], str] = new_key,
) -> tuple[Tokens, KeyFile] | None:
    """The keys of a server that runs in `folder`, published; None if token authorization is off.

    Raises:
        SettingsError: a given key cannot be used, or key_file.json cannot be written.
    """
    if settings.disable_token_authorization:
        return None
    rules = TokenRules(
        lifetime=settings.token_expiration_min * 60,
        strict=settings.strict_http_auth,
        protect_probes=settings.token_protect_ping,
        open_inference=settings.open_inference,
    )
    file = KeyFile(folder)
    tokens = Tokens(rules, given_keys(settings), clock=clock, fresh=fresh, save=file.write)
    try:
        tokens.publish()
    except OSError as error:
        raise SettingsError(
            f"{file.path} cannot be written: {error.strerror}; start in another folder, give all keys "
            "(TS_MANAGEMENT_KEY_FILE, TS_INFERENCE_KEY_FILE, TS_API_KEY_FILE) or use --disable-token-auth"
        ) from None
    return tokens, file


def announcement(file: KeyFile, *, open_inference: bool = False) -> list[str]:
    """What the log says of the keys at start, between lines of #, as TorchServe has it."""
    made = file.path.exists()
    which = "all requests but predictions" if open_inference else "requests"
    return [
        "######",
        f"Token authorization is on: {which} need the header 'Authorization: Bearer <key>'.",
        f"Key file located at {file.path}" if made else "All keys were given from outside: no key file.",
        "The inference key is for predictions, the management key for models, the API key renews them.",
        "--disable-token-auth switches it off.",
        "######",
    ]


def given_keys(settings: Settings) -> dict[Key, str]:
    """The keys that come from the environment or from mounted files.

    Raises:
        SettingsError: one line that names the setting and the reason, never the key.
    """
    found: dict[Key, str] = {}
    ways = {
        Key.MANAGEMENT: ("management_key", settings.management_key, settings.management_key_file),
        Key.INFERENCE: ("inference_key", settings.inference_key, settings.inference_key_file),
        Key.API: ("api_key", settings.api_key, settings.api_key_file),
    }
    for kind, (name, direct, path) in ways.items():
        if direct and path is not None:
            raise SettingsError(f"{name} and {name}_file are both set; give the key one way only")
        if path is not None:
            name = f"{name}_file"
            direct = _read(name, path, settings)
        if direct is None:
            continue
        found[kind] = _usable(f"{name} ({settings.origins[name]})", direct.strip())
    if len(set(found.values())) < len(found):
        raise SettingsError("two of management_key, inference_key and api_key are the same; they must differ")
    return found


def _read(name: str, path: Path, settings: Settings) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST + 1).decode("ascii")
    except UnicodeDecodeError:
        reason = "does not hold a key: it has characters outside ASCII"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    raise SettingsError(f"{name}={path} ({settings.origins[name]}): {reason}")


def _usable(name: str, key: str) -> str:
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise SettingsError(
            f"{name}: a key has {_SHORTEST} to {_LONGEST} characters, this one has {len(key)}"
        )
    if not all("!" <= character <= "~" for character in key):
        raise SettingsError(f"{name}: a key is one word of visible ASCII characters")
    return key
