"""TLS contexts: which files work, and the one line that is said of those that do not."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from torchkeeper.config.settings import CommandLine, load_settings
from torchkeeper.errors import SettingsError
from torchkeeper.http import tls
from torchkeeper.http.tls import tls_context

CA = trustme.CA()
LEAF = CA.issue_cert("127.0.0.1", "localhost")
OTHER = CA.issue_cert("localhost")
KEY = load_pem_private_key(LEAF.private_key_pem.bytes(), None)


def context(folder: Path, *lines: str, address: str = "inference_address=https://127.0.0.1:0") -> object:
    (folder / "config.properties").write_text("\n".join((address, *lines)))
    return tls_context(load_settings(CommandLine(), {}, folder)[0])


def chain(leaf: trustme.LeafCert = LEAF) -> bytes:
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems)


def pem(folder: Path, key: bytes, certificates: bytes) -> tuple[str, str]:
    (folder / "key.pem").write_bytes(key)
    (folder / "certificate.pem").write_bytes(certificates)
    return f"private_key_file={folder / 'key.pem'}", f"certificate_file={folder / 'certificate.pem'}"


def keystore(folder: Path, password: bytes = b"changeit", *, whole: bool = True) -> str:
    certificate = load_pem_x509_certificate(LEAF.cert_chain_pems[0].bytes())
    data = pkcs12.serialize_key_and_certificates(
        b"ts",
        KEY if whole else None,  # type: ignore[arg-type]  # cryptography's union of key types
        certificate if whole else None,
        None if whole else [certificate],
        BestAvailableEncryption(password),
    )
    (folder / "store.p12").write_bytes(data)
    return f"keystore={folder / 'store.p12'}"


def encoded(form: PrivateFormat, password: bytes | None = None) -> bytes:
    lock = NoEncryption() if password is None else BestAvailableEncryption(password)
    return KEY.private_bytes(Encoding.PEM, form, lock)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_pem_keys_in_both_forms(tmp_path: Path, form: PrivateFormat) -> None:
    made = context(tmp_path, *pem(tmp_path, encoded(form), chain()))
    assert isinstance(made, ssl.SSLContext)
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2


def test_key_and_certificate_in_one_file(tmp_path: Path) -> None:
    both = encoded(PrivateFormat.PKCS8) + chain()
    assert context(tmp_path, *pem(tmp_path, both, chain() + encoded(PrivateFormat.PKCS8)))


def test_a_keystore_with_the_default_password_and_with_another(tmp_path: Path) -> None:
    assert context(tmp_path, keystore(tmp_path))
    assert context(tmp_path, keystore(tmp_path, b"s3cret"), "keystore_pass=s3cret", "keystore_type=pkcs12")


@pytest.mark.skipif(which("keytool") is None, reason="needs Java's keytool")
def test_a_keystore_that_keytool_made(tmp_path: Path) -> None:
    command = ["keytool", "-genkeypair", "-alias", "ts", "-keyalg", "RSA", "-keysize", "2048"]
    options = ["-dname", "CN=localhost", "-storetype", "PKCS12", "-storepass", "changeit"]
    store = tmp_path / "made.p12"
    subprocess.run([*command, *options, "-keystore", store], check=True, capture_output=True, timeout=60)
    assert context(tmp_path, f"keystore={store}")


def test_pem_files_win_over_a_keystore(tmp_path: Path) -> None:
    files = pem(tmp_path, encoded(PrivateFormat.PKCS8), chain())
    assert context(tmp_path, *files, "keystore=/nowhere")


@pytest.mark.parametrize("name", ["inference_address", "management_address", "metrics_address"])
def test_any_https_address_needs_a_certificate_and_no_other_does(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}=https://h:1: TLS needs a certificate; set private_key"):
        context(tmp_path, address=f"{name}=https://h:1")
    assert context(tmp_path, address=f"{name}=http://h:1") is None


def test_no_key_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tls.tempfile, "tempdir", str(tmp_path / "temp"))
    assert context(tmp_path, keystore(tmp_path))
    assert not list((tmp_path / "temp").iterdir())


def test_half_a_pair_is_named(tmp_path: Path) -> None:
    key, certificate = pem(tmp_path, encoded(PrivateFormat.PKCS8), chain())
    with pytest.raises(SettingsError, match=r"private_key_file=.*: certificate_file is missing"):
        context(tmp_path, key)
    with pytest.raises(SettingsError, match=r"certificate_file=.*: private_key_file is missing"):
        context(tmp_path, certificate)


@pytest.mark.parametrize(
    ("key", "certificates", "said"),
    [
        (encoded(PrivateFormat.PKCS8), chain(OTHER), r"certificate_file=.*: private_key_file=.* is another"),
        (b"nonsense", chain(), r"private_key_file=.*: holds no private key in PEM form"),
        (b"", chain(), r"private_key_file=.*: holds no private key in PEM form"),
        (chain(), chain(), r"private_key_file=.*: holds no private key in PEM form"),
        (encoded(PrivateFormat.PKCS8), b"", r"certificate_file=.*: holds no certificate in PEM form"),
        (encoded(PrivateFormat.PKCS8), encoded(PrivateFormat.PKCS8), r"certificate_file=.*: holds no cert"),
        (encoded(PrivateFormat.PKCS8, b"x"), chain(), r"private_key_file=.*: the key is encrypted"),
        (encoded(PrivateFormat.TraditionalOpenSSL, b"x"), chain(), r"private_key_file=.*: the key is encry"),
    ],
    ids=[
        "mismatch",
        "no key",
        "empty",
        "not a key",
        "empty cert",
        "not a cert",
        "encrypted",
        "old encrypted",
    ],
)
def test_pem_files_that_cannot_be_used(tmp_path: Path, key: bytes, certificates: bytes, said: str) -> None:
    check_refusal(tmp_path, said, *pem(tmp_path, key, certificates))


def signed(
    size: int, name: str, by: tuple[RSAPrivateKey, x509.Certificate] | None = None
) -> x509.Certificate:
    """A certificate for a key of that many bits, its own or another's; the key is in `RSA`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[1].subject if by else subject)
        .public_key(RSA[size].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    return made.sign(by[0] if by else RSA[size], SHA256())


#: As many bits as old tutorials for TorchServe give a key, and as many as are taken.
RSA = {size: generate_private_key(65537, size) for size in (1024, 2048)}


def test_a_key_that_is_too_short_is_refused_in_words_that_say_so(tmp_path: Path) -> None:
    short = signed(1024, "localhost")
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = pem(tmp_path, RSA[1024].private_bytes(*form), short.public_bytes(Encoding.PEM))
    said = r"certificate_file=.*: its key has 1024 bits, too few for TLS \(RSA needs 2048\); make a new "
    check_refusal(tmp_path, said, *files)
    leaf = signed(2048, "localhost", by=(RSA[1024], short))
    both = leaf.public_bytes(Encoding.PEM) + short.public_bytes(Encoding.PEM)
    files = pem(tmp_path, RSA[2048].private_bytes(*form), both)
    check_refusal(
        tmp_path, r"certificate_file=.*: a certificate of its chain has a key of 1024 bits, ", *files
    )


def test_missing_files(tmp_path: Path) -> None:
    key, certificate = pem(tmp_path, encoded(PrivateFormat.PKCS8), chain())
    check_refusal(
        tmp_path, r"private_key_file=/no: cannot be read: No such", "private_key_file=/no", certificate
    )
    check_refusal(tmp_path, r"certificate_file=/: cannot be read: Is a dir", key, "certificate_file=/")
    check_refusal(tmp_path, r"keystore=/no: cannot be read: No such file", "keystore=/no")


def test_keystores_that_cannot_be_used(tmp_path: Path) -> None:
    store = keystore(tmp_path, b"s3cret")
    check_refusal(tmp_path, r"keystore=.*store\.p12: keystore_pass is wrong", store)
    check_refusal(tmp_path, r"keystore=.*: keystore_pass is wrong", store, "keystore_pass=wrong")
    check_refusal(tmp_path, r"keystore_type=JKS: only PKCS12 is read; keytool", store, "keystore_type=JKS")
    check_refusal(
        tmp_path, r"keystore=.*: holds no private key with its certificate", keystore(tmp_path, whole=False)
    )
    (tmp_path / "store.p12").write_bytes(b"\xfe\xed\xfe\xed and more")
    check_refusal(tmp_path, r"keystore=.*: is a JKS keystore, only PKCS12 is read; keytool", store)
    (tmp_path / "store.p12").write_bytes(b"nonsense")
    check_refusal(tmp_path, r"keystore=.*: is no PKCS12 keystore", store)


def check_refusal(folder: Path, said: str, *lines: str) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        context(folder, *lines)
    assert "\n" not in raised.value.message
    assert "s3cret" not in raised.value.message
