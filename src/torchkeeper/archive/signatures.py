"""Whether an archive is signed by somebody whom the settings trust: OpenSSF model signing.

It is judged before a byte of the archive is unpacked. Blocks (disk, and for Sigstore's identities network),
so it runs in threads. The library (the extra `sign`) is imported only where the settings, or `inspect`, ask
for it. Source of forms: OpenSSF's model signing specification, and the command `model_signing`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from torchkeeper.archive.store import SIGNATURE
from torchkeeper.config.table import Configured
from torchkeeper.errors import ArchiveError, SettingsError, reason_of

logger = logging.getLogger(__name__)

#: What a signature inside of a folder is called.
INSIDE = "model.sig"
#: Bytes of a signature: it has a line for each file of a folder.
LARGEST = 16 << 20
#: Characters of a cause: it may name every file of a folder.
_LONGEST = 500
_MISSING = "needs model-signing, and {} is missing: pip install 'torchkeeper[sign]'"
#: How the library begins when the signer is right, and the bytes are others.
_TAMPERED = "Signature mismatch"


class SignatureState(StrEnum):
    """What became of looking for a signature."""

    VERIFIED = "verified"
    UNSIGNED = "unsigned"
    INVALID = "invalid"


@dataclass(frozen=True)
class Provenance:
    """What an archive's signature says."""

    state: SignatureState
    #: Who signed it, where it is verified; else why it is not.
    told: str


@dataclass(frozen=True)
class _Signer:
    """Somebody whose signatures count, and how the library is told of it."""

    name: str
    #: A configuration of the library's for one verification: it remembers what the last one ignored.
    verification: Callable[[], Any]


def beside(path: Path) -> Path | None:
    """The signature of an archive, or of a folder that is one; None if there is none."""
    places = (path / INSIDE, Path(f"{path}{SIGNATURE}")) if path.is_dir() else (Path(f"{path}{SIGNATURE}"),)
    return next((place for place in places if place.is_file()), None)


class Verifier:
    """Judges archives by the settings `verify_models` and `verify_…`."""

    def __init__(self, settings: Configured) -> None:
        self._policy = settings.verify_models
        self._settings = settings

    @property
    def on(self) -> bool:
        """Whether signatures are looked at."""
        return self._policy != "off"

    def prepare(self) -> None:
        """Reads what there is to read of the settings, where signatures are looked at.

        Raises:
            SettingsError: nobody is trusted, a key cannot be read, or the library is not there.
        """
        if not self.on:
            return
        try:
            signers = self._signers()
        except ModuleNotFoundError as error:
            what = f"verify_models={self._policy} {_MISSING.format(error.name)}"
            raise SettingsError(what) from None
        if not signers:
            who = "verify_public_keys, verify_certificate_chain or verify_identity names whom to trust"
            raise SettingsError(f"verify_models={self._policy} trusts nobody: {who}")

    @contextlib.contextmanager
    def held(self, path: Path, signature: Path | None, name: str) -> Iterator[Provenance | None]:
        """Judges an archive, and sees to it that what is read of a file meanwhile is what was judged.

        None where signatures are not looked at. `signature` is its file, `name` the archive's in errors.

        Raises:
            ArchiveError: it is not signed as it must be, or was changed while it was read.
        """
        if not self.on:
            yield None
            return
        before = _stamp(path)
        found = self.judge(path, signature)
        if found.state is not SignatureState.VERIFIED:
            if self._policy == "require":
                raise ArchiveError(f"{name} is refused: {found.told} (verify_models=require)")
            logger.warning("%s: %s (verify_models=warn)", name, found.told)
        yield found
        if _stamp(path) != before:
            raise ArchiveError(f"{name} was changed while it was read")

    def judge(self, path: Path, signature: Path | None) -> Provenance:
        """What an archive's signature says to those whom the settings trust."""
        if signature is None:
            return Provenance(SignatureState.UNSIGNED, "it is not signed")
        try:
            signers = self._signers()
        except SettingsError as error:  # it could be read at start; where it lies is nobody's business
            logger.error("%s: no signature can be judged: %s", path.name, error.message)
            told = "its signature cannot be judged: the server's log says why"
            return Provenance(SignatureState.INVALID, told)
        why = []
        for signer in signers:
            try:
                if signature.stat().st_size > LARGEST:
                    raise ValueError(f"it has more than {LARGEST} bytes")
                signer.verification().verify(path.resolve(), signature)
            except Exception as error:  # noqa: BLE001 - whatever a strange signature makes the library raise
                said = reason_of(error)[:_LONGEST]
                if said.startswith(_TAMPERED):
                    told = f"it is not what {signer.name} has signed: {said}"
                    return Provenance(SignatureState.INVALID, told)
                why.append(f"by {signer.name}: {said}")
            else:
                return Provenance(SignatureState.VERIFIED, signer.name)
        return Provenance(SignatureState.INVALID, f"its signature is not valid; {'; '.join(why)}")

    def _signers(self) -> list[_Signer]:
        """Those whom the settings trust.

        Raises:
            ModuleNotFoundError: the library is not there.
            SettingsError: what a setting names cannot be read.
        """
        from model_signing.verifying import Config

        settings, found = self._settings, []

        def by_key(path: Path) -> Any:
            return Config().use_elliptic_key_verifier(public_key=path)

        def by_certificate(chain: tuple[Path, ...]) -> Any:
            return Config().use_certificate_verifier(certificate_chain=chain)

        def by_identity(identity: str, issuer: str, trust: Path | None) -> Any:
            return Config().use_sigstore_verifier(identity=identity, oidc_issuer=issuer, trust_config=trust)

        for path in settings.verify_public_keys:
            with _told(f"verify_public_keys={path}"):
                by_key(path)
                name = f"the key sha256:{_digest_of_key(path)}"
            found.append(_Signer(name, partial(by_key, path)))
        if chain := settings.verify_certificate_chain:
            names = ", ".join(path.name for path in chain)
            with _told(f"verify_certificate_chain={names}"):
                by_certificate(chain)
            found.append(_Signer(f"a certificate under {names}", partial(by_certificate, chain)))
        if (identity := settings.verify_identity) is not None:
            issuer = settings.verify_identity_provider
            if issuer is None:
                raise SettingsError("verify_identity needs verify_identity_provider, which vouches for it")
            # It asks Sigstore for its keys, so not before there is something to verify.
            verification = partial(by_identity, identity, issuer, settings.verify_trust_config)
            found.append(_Signer(f"{identity} of {issuer}", verification))
        return found


@contextlib.contextmanager
def _told(setting: str) -> Iterator[None]:
    """Whatever is wrong with what a setting names is told with its name."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a key of another kind is an AttributeError of the library's
        raise SettingsError(f"{setting} cannot be used: {reason_of(error)}") from None


def _digest_of_key(path: Path) -> str:
    """The SHA-256 of a public key as signatures name it."""
    key = load_pem_public_key(path.read_bytes())
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written to, or another one takes its place; of a folder nothing is told."""
    if path.is_dir():
        return 0, 0, 0
    status = path.stat()
    return status.st_ino, status.st_size, status.st_ctime_ns


def claimed_signer(signature: Path) -> str:
    """Who a signature says has made it, whether or not that is true."""
    try:
        with signature.open("rb") as file:
            material = json.loads(file.read(LARGEST))["verificationMaterial"]
        if hint := material.get("publicKey", {}).get("hint"):
            return f"the key sha256:{str(hint)[:64]}"
        return "somebody with a certificate"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "nobody: it is no Sigstore bundle"
