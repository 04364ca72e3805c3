"""Signatures of archives: real keys and certificates, and what becomes of what is not as it was signed."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signers import Authority, KeyPair
from torchkeeper.archive.signatures import LARGEST, SignatureState, Verifier, beside, claimed_signer
from torchkeeper.config.table import Configured
from torchkeeper.errors import ArchiveError, SettingsError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeyPair, KeyPair]:
    folder = tmp_path_factory.mktemp("keys")
    return KeyPair(folder, "ours"), KeyPair(folder, "theirs")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "m.mar"
    path.write_bytes(b"an archive")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "m"
    (path / "MAR-INF").mkdir(parents=True)
    (path / "MAR-INF" / "MANIFEST.json").write_text("{}")
    (path / "h.py").write_text("handle = print")
    return path


def verifier(*keys: KeyPair, policy: str = "require", **more: Any) -> Verifier:
    return Verifier(
        Configured(verify_models=policy, verify_public_keys=tuple(key.public for key in keys), **more)
    )


def test_who_has_signed_a_file_is_told(archive: Path, keys: tuple[KeyPair, KeyPair]) -> None:
    ours, theirs = keys
    signature = ours.sign(archive)
    assert beside(archive) == signature
    for trusted in ((ours,), (theirs, ours)):
        found = verifier(*trusted).judge(archive, signature)
        assert found.state is SignatureState.VERIFIED
        assert found.told == claimed_signer(signature)
        with verifier(*trusted).held(archive, signature, "m.mar") as held:
            assert held == found


@pytest.mark.parametrize(
    ("spoil", "state", "why"),
    [
        (lambda archive, signature: archive.write_bytes(b"an Archive"), "invalid", "it is not what the key"),
        (lambda archive, signature: signature.unlink(), "unsigned", "it is not signed"),
        (lambda archive, signature: signature.write_bytes(b""), "invalid", "not valid"),
        (lambda archive, signature: signature.write_bytes(b"\xff\0"), "invalid", "not valid"),
        (lambda archive, signature: signature.write_text("[" * 100_000), "invalid", "not valid"),
        (lambda archive, signature: signature.write_text("[]"), "invalid", "not valid"),
        (lambda archive, signature: signature.write_bytes(b" " * (LARGEST + 1)), "invalid", "bytes"),
    ],
)
def test_what_is_not_as_it_was_signed_is_refused_or_told_of(
    archive: Path,
    keys: tuple[KeyPair, KeyPair],
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path, Path], object],
    state: str,
    why: str,
) -> None:
    spoil(archive, keys[0].sign(archive))
    signature = beside(archive)
    with pytest.raises(ArchiveError, match=r"m\.mar is refused: .*verify_models=require") as raised:
        with verifier(keys[0]).held(archive, signature, "m.mar"):
            raise AssertionError("it is read all the same")
    assert raised.value.status == 400
    assert why in raised.value.message
    with (
        caplog.at_level(logging.WARNING),
        verifier(keys[0], policy="warn").held(archive, signature, "m.mar") as found,
    ):
        assert found is not None
        assert (found.state, why in found.told) == (state, True)
    (record,) = caplog.records
    assert record.getMessage().endswith("(verify_models=warn)")


def test_the_signature_of_somebody_else_does_not_count(archive: Path, keys: tuple[KeyPair, KeyPair]) -> None:
    ours, theirs = keys
    found = verifier(ours).judge(archive, theirs.sign(archive))
    assert found.state is SignatureState.INVALID
    other = archive.with_name("other.mar")
    other.write_bytes(b"something else")
    assert verifier(ours).judge(archive, ours.sign(other)).state is SignatureState.INVALID


def test_a_signature_whose_signer_was_exchanged_does_not_count(
    archive: Path, keys: tuple[KeyPair, KeyPair]
) -> None:
    ours, theirs = keys
    trusted = json.loads(ours.sign(archive).read_text())
    signature = theirs.sign(archive)
    forged = json.loads(signature.read_text())
    forged["verificationMaterial"] = trusted["verificationMaterial"]
    signature.write_text(json.dumps(forged))
    assert claimed_signer(signature).startswith("the key sha256:")
    assert verifier(ours).judge(archive, signature).state is SignatureState.INVALID


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "torch.py").write_text("import os"), "torch.py"),
        (lambda folder: (folder / "h.py").write_text("handle = exec"), "h.py"),
        (lambda folder: (folder / "h.py").unlink(), "h.py"),
        (lambda folder: (folder / "link.py").symlink_to(folder / "h.py"), "link.py"),
        (lambda folder: (folder / "MAR-INF" / "more").mkdir(), ""),
    ],
)
def test_a_folder_is_what_was_signed_to_the_last_file(
    folder: Path, keys: tuple[KeyPair, KeyPair], change: Callable[[Path], object], why: str
) -> None:
    signature = keys[0].sign(folder)
    assert beside(folder) == signature == folder / "model.sig"
    assert verifier(keys[0]).judge(folder, signature).state is SignatureState.VERIFIED
    change(folder)
    found = verifier(keys[0]).judge(folder, signature)
    assert (found.state is SignatureState.INVALID) == bool(why)
    assert why in found.told


def test_what_one_signature_leaves_out_another_does_not(
    folder: Path, keys: tuple[KeyPair, KeyPair], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    lax = keys[0].sign(other, other / "torch.py")
    exact = keys[0].sign(folder)
    judge = verifier(keys[0]).judge
    (other / "torch.py").write_text("left out")
    (folder / "torch.py").write_text("not signed")
    assert judge(other, lax).state is SignatureState.VERIFIED
    assert judge(folder, exact).state is SignatureState.INVALID


def test_certificates_count_under_their_authority_alone(
    archive: Path, keys: tuple[KeyPair, KeyPair], tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    signature = authority.sign(archive, keys[1])
    assert claimed_signer(signature) == "somebody with a certificate"
    assert verifier(verify_certificate_chain=(authority.path,)).judge(archive, signature).told == (
        "a certificate under ours.crt"
    )
    found = verifier(verify_certificate_chain=(stranger.path,)).judge(archive, signature)
    assert found.state is SignatureState.INVALID
    assert verifier(keys[1]).judge(archive, signature).state is SignatureState.INVALID


def test_an_identity_that_cannot_be_asked_for_verifies_nothing(
    archive: Path, keys: tuple[KeyPair, KeyPair], tmp_path: Path
) -> None:
    (tmp_path / "trust.json").write_text("{}")
    asked = verifier(
        verify_identity="a@b.example",
        verify_identity_provider="https://accounts.example",
        verify_trust_config=tmp_path / "trust.json",
    )
    asked.prepare()
    found = asked.judge(archive, keys[0].sign(archive))
    assert found.state is SignatureState.INVALID
    assert "by a@b.example of https://accounts.example: " in found.told


def test_a_key_that_is_gone_makes_signatures_invalid_and_its_place_stays_in_the_log(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = KeyPair(tmp_path, "gone")
    signature = gone.sign(archive)
    asked = verifier(gone, policy="warn")
    asked.prepare()
    gone.public.unlink()
    with asked.held(archive, signature, "m.mar") as found:
        assert found is not None
    assert found.state is SignatureState.INVALID
    assert found.told == "its signature cannot be judged: the server's log says why"
    assert f"verify_public_keys={gone.public} cannot be used: No such file or directory" in caplog.text
    with pytest.raises(ArchiveError, match=r"m\.mar is refused: its signature cannot be judged") as raised:
        with verifier(gone).held(archive, signature, "m.mar"):
            pass
    assert str(tmp_path) not in raised.value.text


def test_an_error_of_a_file_is_told_without_its_place(archive: Path, keys: tuple[KeyPair, KeyPair]) -> None:
    signature = keys[0].sign(archive)
    signature.unlink()
    found = verifier(keys[0]).judge(archive, signature)
    assert found.state is SignatureState.INVALID
    assert found.told.endswith(": No such file or directory")


def test_an_archive_that_is_exchanged_while_it_is_read_is_refused(
    archive: Path, keys: tuple[KeyPair, KeyPair]
) -> None:
    signature = keys[0].sign(archive)
    other = archive.with_name("other")
    other.write_bytes(archive.read_bytes())
    with pytest.raises(ArchiveError, match="m was changed while it was read"):
        with verifier(keys[0]).held(archive, signature, "m"):
            other.replace(archive)


def test_a_folder_may_be_signed_beside_it(folder: Path) -> None:
    assert beside(folder) is None
    Path(f"{folder}.sig").touch()
    assert beside(folder) == Path(f"{folder}.sig")


@pytest.mark.parametrize("claim", ["", "[]", '{"verificationMaterial": []}', "[" * 100_000])
def test_what_is_no_signature_claims_nothing(tmp_path: Path, claim: str) -> None:
    path = tmp_path / "m.sig"
    path.write_text(claim)
    assert claimed_signer(path) == "nobody: it is no Sigstore bundle"


# --- the settings ---------------------------------------------------------------------------------------


def test_off_needs_nothing_and_says_nothing(archive: Path) -> None:
    asked = Verifier(Configured(verify_public_keys=(Path("not there"),)))
    asked.prepare()
    with asked.held(archive, None, "m.mar") as found:
        assert found is None


def test_who_is_trusted_must_be_said_and_readable(tmp_path: Path, keys: tuple[KeyPair, KeyPair]) -> None:
    (tmp_path / "no.pem").write_text("no key")
    other = rsa.generate_private_key(65537, 2048).public_key()
    (tmp_path / "rsa.pem").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for settings, why in (
        ({}, "verify_models=warn trusts nobody: verify_public_keys, "),
        ({"verify_public_keys": (tmp_path / "absent.pem",)}, "absent.pem cannot be used: No such file"),
        ({"verify_public_keys": (tmp_path / "no.pem",)}, "no.pem cannot be used: "),
        ({"verify_public_keys": (tmp_path / "rsa.pem",)}, "rsa.pem cannot be used: "),
        ({"verify_certificate_chain": (tmp_path / "no.pem",)}, "verify_certificate_chain=no.pem cannot"),
        ({"verify_identity": "a@b.example"}, "verify_identity needs verify_identity_provider"),
    ):
        with pytest.raises(SettingsError) as raised:
            Verifier(Configured(verify_models="warn", **settings)).prepare()  # type: ignore[arg-type]
        assert why in raised.value.message


def test_the_missing_library_is_named_with_what_brings_it(
    keys: tuple[KeyPair, KeyPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(SettingsError) as raised:
        verifier(keys[0]).prepare()
    assert raised.value.message == (
        "verify_models=require needs model-signing, and model_signing.verifying is missing: "
        "pip install 'torchkeeper[sign]'"
    )
