"""Objects fetched by obstore from a server that speaks S3's protocol and Google's, and names in folders."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from object_store import ObjectStore, object_store
from torchkeeper.archive.buckets import folder_of
from torchkeeper.archive.cloud import names_in
from torchkeeper.archive.reach import Reach
from torchkeeper.archive.source import Source
from torchkeeper.config.settings import process_environ
from torchkeeper.errors import DownloadFailed, ModelNotAt

CONTENT = bytes(range(256)) * 10_000
ANY = Reach((re.compile("(s3|gs)://.*"), re.compile("https://.*")))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    """A store with one object that stands in for both services, and no file of this machine's user."""
    with object_store() as found:
        found.objects["/bucket/models/m.mar"] = CONTENT
        for name, value in {
            "AWS_ENDPOINT_URL": found.url,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "STORAGE_EMULATOR_HOST": found.url.removeprefix("http://"),
        }.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty model store."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_an_object_is_fetched_with_signed_requests_and_kept(here: Path, store: ObjectStore) -> None:
    fetched = Source(here, ANY).fetch("s3://bucket/models/m.mar")
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.name == "m.mar"
    assert not (here / "m.mar").exists()
    fetched.keep()
    assert (here / "m.mar").read_bytes() == CONTENT
    (asked,) = store.asked
    assert asked.path == "/bucket/models/m.mar"
    assert asked.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=id/")
    assert "/eu-west-1/s3/" in asked.headers["authorization"]


def test_an_object_of_googles_is_fetched(here: Path, store: ObjectStore) -> None:
    fetched = Source(here, ANY).fetch("gs://bucket/models/m.mar")
    assert fetched.path.read_bytes() == CONTENT
    assert "authorization" not in store.asked[0].headers


def test_a_service_accounts_key_signs_for_googles(
    here: Path, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    account = {
        "type": "service_account",
        "private_key": key.private_bytes(*form).decode(),
        "private_key_id": "1",
        "client_email": "me@project.iam",
    }
    (tmp_path / "key.json").write_text(json.dumps(account))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_BASE_URL", store.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    assert Source(here, ANY).fetch("gs://bucket/models/m.mar").path.read_bytes() == CONTENT
    assert store.asked[0].headers["authorization"].startswith("Bearer ey")


def test_s3s_https_address_is_signed_when_asked_for(here: Path, store: ObjectStore) -> None:
    url = "https://bucket.s3.eu-west-1.amazonaws.com/models/m.mar"
    assert Source(here, ANY).fetch(url, signed=True).path.read_bytes() == CONTENT
    assert store.asked[0].headers["authorization"].startswith("AWS4-HMAC-SHA256 ")


def test_the_keys_of_a_profile_sign(
    here: Path, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = own\naws_secret_access_key = hush\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert Source(here, ANY).fetch("s3://bucket/models/m.mar").path.read_bytes() == CONTENT
    assert "Credential=own/" in store.asked[0].headers["authorization"]
    monkeypatch.setenv("AWS_PROFILE", "gone")
    with pytest.raises(DownloadFailed) as raised:
        Source(here, ANY).fetch("s3://bucket/models/m.mar")
    assert raised.value.cause == "AWS_PROFILE=gone: there is no such profile"


def profile(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the default profile says who asks."""
    (folder / "config").write_text(f"[default]\n{text}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))


def test_the_keys_that_a_process_prints_sign(
    here: Path, tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = '{"Version": 1, "AccessKeyId": "of-the-process", "SecretAccessKey": "hush"}'
    profile(tmp_path, f"credential_process = echo '{keys}'", monkeypatch)
    assert Source(here, ANY).fetch("s3://bucket/models/m.mar").path.read_bytes() == CONTENT
    assert "Credential=of-the-process/" in store.asked[-1].headers["authorization"]


def test_the_keys_of_a_role_that_a_token_stands_for_sign(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: ObjectStore
) -> None:
    """The token goes nowhere in the clear: the service that takes it speaks TLS."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (tmp_path / "token").write_text("who-i-am")
    text = f"role_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = {tmp_path / 'token'}"
    profile(tmp_path, text, monkeypatch)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with object_store(tls) as tokens:
        tokens.role = {"RoleArn": "arn:aws:iam::1:role/r", "WebIdentityToken": "who-i-am"}
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens.url)
        assert Source(here, ANY).fetch("s3://bucket/models/m.mar").path.read_bytes() == CONTENT
    assert "Credential=of-the-role/" in store.asked[-1].headers["authorization"]


def test_a_bucket_in_another_region_is_asked_there(here: Path, store: ObjectStore) -> None:
    store.region = "ap-south-2"
    assert Source(here, ANY).fetch("s3://bucket/models/m.mar").path.read_bytes() == CONTENT
    assert "/ap-south-2/s3/" in store.asked[-1].headers["authorization"]


def test_a_store_that_is_busy_is_asked_again(
    here: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.refusals[:] = [503]
    with pytest.raises(DownloadFailed) as raised:
        Source(here, ANY).fetch("s3://bucket/models/m.mar")
    assert "SlowDown" in (raised.value.cause or "")
    store.refusals[:] = [503]
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    assert Source(here, ANY).fetch("s3://bucket/models/m.mar").path.read_bytes() == CONTENT


@pytest.mark.parametrize("service", ["s3", "gs"])
def test_an_object_that_is_not_there_is_named_and_nothing_is_left(
    here: Path, store: ObjectStore, service: str
) -> None:
    with pytest.raises(DownloadFailed, match=rf"archive from: {service}://bucket/no\.mar") as raised:
        Source(here, ANY).fetch(f"{service}://bucket/no.mar")
    assert "NoSuchKey" in (raised.value.cause or "")
    assert "Debug" not in (raised.value.cause or "")
    assert not list(here.iterdir())


def test_an_object_that_breaks_off_is_not_kept(here: Path, store: ObjectStore) -> None:
    store.breaking = True
    with pytest.raises(DownloadFailed):
        Source(here, ANY).fetch("s3://bucket/models/m.mar")
    assert not list(here.iterdir())


def test_a_store_that_nobody_runs_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, store: ObjectStore
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(DownloadFailed) as raised:
        Source(here, ANY).fetch("s3://bucket/m.mar")
    assert "Connection refused" in (raised.value.cause or "")


@pytest.mark.parametrize("service", ["s3", "gs"])
def test_names_in_a_folder(store: ObjectStore, service: str) -> None:
    for key in ("top.txt", "models/b.mar", "models/deep/c.mar", "models-2/d.mar"):
        store.objects[f"/bucket/{key}"] = b"."
    found = []
    for url in (f"{service}://bucket/models/", f"{service}://bucket", f"{service}://bucket/none"):
        found.append(names_in(url, folder_of(url), process_environ()))
    assert found == [["b.mar", "m.mar"], ["top.txt"], []]


@pytest.mark.parametrize("service", ["s3", "gs"])
def test_a_store_must_be_allowed(tmp_path: Path, service: str) -> None:
    with pytest.raises(ModelNotAt, match=rf"Model not found at: {service}://bucket/m\.mar"):
        Source(tmp_path, Reach((re.compile("file://.*|http(s)?://.*"),))).fetch(f"{service}://bucket/m.mar")
