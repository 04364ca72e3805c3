"""TLS: from the settings' certificate files or keystore to an SSLContext, or one line that says why not.

Reads files, opens no sockets. Keys and certificates are parsed here first, because OpenSSL's own loader tells
a wrong password from a wrong file as badly as a user can imagine. Source of the settings: TorchServe's.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from torchkeeper.config.settings import Settings
from torchkeeper.errors import SettingsError

#: Bits of an RSA key that OpenSSL takes at the security level that Python sets.
_LEAST = 2048
#: The first bytes of Java's older keystore format.
_JKS = b"\xfe\xed\xfe\xed"


@dataclass(frozen=True)
class _Identity:
    """A private key (PKCS#8, PEM, encrypted) with its certificates, the server's own first."""

    key: bytes
    password: str
    certificates: tuple[x509.Certificate, ...]
    source: str


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The context of all https addresses; None if there is none.

    Raises:
        SettingsError: no certificate, or one that cannot be used; key, file and reason are named.
    """
    addresses = {
        "inference_address": settings.inference_address,
        "management_address": settings.management_address,
        "metrics_address": settings.metrics_address,
    }
    https = [f"{name}={address}" for name, address in addresses.items() if address.scheme == "https"]
    return _context(_found(settings, https[0])) if https else None


def pem_pair(settings: Settings) -> tuple[bytes, bytes]:
    """Private key (not encrypted) and certificates in PEM form, for gRPC, which takes them from memory.

    Raises:
        SettingsError: as `tls_context`.
    """
    identity = _found(settings, "enable_grpc_ssl=true")
    key = load_pem_private_key(identity.key, identity.password.encode())
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in identity.certificates)
    return plain, chain


def _found(settings: Settings, wanted: str) -> _Identity:
    """What the settings name; `wanted` is the setting that needs it."""
    if settings.private_key_file and settings.certificate_file:
        return _from_pem(settings.private_key_file, settings.certificate_file)
    if settings.keystore:
        return _from_keystore(settings.keystore, settings.keystore_type, settings.keystore_pass)
    for have, path, lack in (
        ("private_key_file", settings.private_key_file, "certificate_file"),
        ("certificate_file", settings.certificate_file, "private_key_file"),
    ):
        if path:
            raise SettingsError(f"{have}={path}: {lack} is missing, TLS needs both")
    raise SettingsError(
        f"{wanted}: TLS needs a certificate; set private_key_file and "
        "certificate_file (PEM), or keystore and keystore_pass (PKCS12)"
    )


def _context(identity: _Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL's loader takes files only. This one has mode 0600, is gone at once, and its key is encrypted.
    with tempfile.NamedTemporaryFile(prefix="torchkeeper-") as file:
        file.write(identity.key)
        for certificate in identity.certificates:
            file.write(certificate.public_bytes(Encoding.PEM))
        file.flush()
        try:
            context.load_cert_chain(file.name, password=identity.password)
        except ssl.SSLError as error:
            raise SettingsError(f"{identity.source}: {_objection(error, identity)}") from None
    return context


def _objection(error: ssl.SSLError, identity: _Identity) -> str:
    """Why OpenSSL does not take a certificate, in words where it is one of the usual reasons."""
    if "KEY_TOO_SMALL" not in (error.reason or ""):
        return f"cannot be used for TLS: {error.reason}"
    sizes = [getattr(certificate.public_key(), "key_size", _LEAST) for certificate in identity.certificates]
    bits = min(sizes)
    whose = f"its key has {bits} bits"
    if sizes[0] != bits:
        whose = f"a certificate of its chain has a key of {bits} bits"
    return f"{whose}, too few for TLS (RSA needs {_LEAST}); make a new key and certificate"


def _from_pem(key_file: Path, certificate_file: Path) -> _Identity:
    key_name, certificate_name = f"private_key_file={key_file}", f"certificate_file={certificate_file}"
    key_data, certificate_data = _read(key_name, key_file), _read(certificate_name, certificate_file)
    try:
        key = load_pem_private_key(key_data, None)
    except TypeError:
        raise SettingsError(
            f"{key_name}: the key is encrypted; decrypt it, or use a keystore with keystore_pass"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{key_name}: holds no private key in PEM form") from None
    try:
        certificates = x509.load_pem_x509_certificates(certificate_data)
    except ValueError:
        raise SettingsError(f"{certificate_name}: holds no certificate in PEM form") from None
    return _identity(key, certificates, certificate_name, f"{key_name} is another certificate's key")


def _from_keystore(path: Path, kind: str, password: str | None) -> _Identity:
    name = f"keystore={path}"
    if kind.upper() != "PKCS12":
        raise SettingsError(f"keystore_type={kind}: only PKCS12 is read; {_CONVERT}")
    data = _read(name, path)
    if data.startswith(_JKS):
        raise SettingsError(f"{name}: is a JKS keystore, only PKCS12 is read; {_CONVERT}")
    try:
        store = load_pkcs12(data, password.encode() if password else None)
    except (ValueError, UnsupportedAlgorithm):
        why = "keystore_pass is wrong" if data[:1] == b"\x30" else "is no PKCS12 keystore"
        raise SettingsError(f"{name}: {why}") from None
    if store.key is None or store.cert is None:
        raise SettingsError(f"{name}: holds no private key with its certificate")
    chain = [store.cert.certificate, *(extra.certificate for extra in store.additional_certs)]
    return _identity(store.key, chain, name, "its private key is another certificate's")


_CONVERT = "keytool -importkeystore -deststoretype PKCS12 converts others"


def _identity(key: object, certificates: list[x509.Certificate], source: str, mismatch: str) -> _Identity:
    """Both halves, after it was seen that they belong together."""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificates[0].public_key().public_bytes(*form):  # type: ignore[attr-defined]  # cryptography's union of key types
        raise SettingsError(f"{source}: {mismatch}")
    password = secrets.token_urlsafe(32)
    encrypted = key.private_bytes(  # type: ignore[attr-defined]  # likewise
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
    )
    return _Identity(encrypted, password, tuple(certificates), source)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: cannot be read: {error.strerror}") from None
