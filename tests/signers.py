"""Who signs models in tests: keys, certificates, and OpenSSF model signing itself."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from tools import unavailable

_YEAR = datetime.timedelta(days=365)


class KeyPair:
    """A key of somebody who signs, in two PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        _library()  # without it there is nothing to sign for
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub"
        self.private.write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        self.public.write_bytes(
            self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def sign(self, path: Path, *ignored: Path) -> Path:
        """Signs an archive as the command does, but for files that are ignored; returns the signature."""
        signature = path / "model.sig" if path.is_dir() else Path(f"{path}.sig")
        signing, hashing = _library()
        config = signing.Config().use_elliptic_key_signer(private_key=self.private)
        config.set_hashing_config(hashing.Config().set_ignored_paths(paths=(signature, *ignored)))
        config.sign(path, signature)
        return signature


class Authority:
    """Gives out certificates with which models may be signed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.crt"
        self._folder = folder
        made = self._certificate(self._name, self._key.public_key(), authority=True)
        self.path.write_bytes(made.public_bytes(Encoding.PEM))

    def _certificate(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        usage = dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                *("encipher_only", "decipher_only"),
            ),
            False,
        )
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + _YEAR)
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
        allowed = x509.KeyUsage(
            digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage
        )
        return builder.add_extension(allowed, critical=True).sign(self._key, SHA256())

    def sign(self, path: Path, by: KeyPair) -> Path:
        """Signs a file by a key that it vouches for; returns the signature."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
        certificate = self._folder / "somebody.crt"
        certificate.write_bytes(
            self._certificate(name, by.key.public_key(), authority=False).public_bytes(Encoding.PEM)
        )
        signature = Path(f"{path}.sig")
        signing, hashing = _library()
        config = signing.Config().use_certificate_signer(
            private_key=by.private, signing_certificate=certificate, certificate_chain=[self.path]
        )
        config.set_hashing_config(hashing.Config()).sign(path, signature)
        return signature


def _library() -> tuple[object, ...]:
    try:
        from model_signing import hashing, signing
    except ModuleNotFoundError as error:
        unavailable(f"{error.name} is not installed: pip install -e '.[dev]'")
    return signing, hashing
