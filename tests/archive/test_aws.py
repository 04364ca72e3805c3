"""How S3 is asked: what variables and the files of AWS say, and who wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchkeeper.archive.aws import S3Access, s3_access

CONFIG = """
[default]
region = eu-central-1
endpoint_url = http://minio:9000
max_attempts = 2

[profile lab]
region = eu-west-3
ca_bundle = /ca.pem

[profile elsewhere]
sso_session = lab
"""
CREDENTIALS = """
[default]
aws_access_key_id = first
aws_secret_access_key = hush%20

[lab]
aws_access_key_id = second
aws_secret_access_key = hush
aws_session_token = token
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The variables that name the shared files."""
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    return {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }


NOWHERE = {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}


@pytest.mark.parametrize(
    ("environ", "named", "access"),
    [
        ({}, None, S3Access("us-east-1")),
        ({}, "eu-west-1", S3Access("eu-west-1")),
        ({"AWS_REGION": "a-b-1"}, None, S3Access("a-b-1")),
        ({"AWS_REGION": "a-b-1", "AWS_DEFAULT_REGION": "a-b-2"}, None, S3Access("a-b-2")),
        ({"AWS_REGION": "a-b-1"}, "eu-west-1", S3Access("eu-west-1")),
        ({}, "cn-north-1", S3Access("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn")),
        (
            {"AWS_ENDPOINT_URL": "http://h:1", "AWS_DEFAULT_REGION": "a-b-1"},
            "eu-west-1",
            S3Access("a-b-1", "http://h:1"),
        ),
        (
            {"AWS_ENDPOINT_URL": "http://h:1", "AWS_ENDPOINT_URL_S3": "http://h:2"},
            None,
            S3Access("us-east-1", "http://h:2"),
        ),
        ({"AWS_MAX_ATTEMPTS": "1"}, None, S3Access("us-east-1", attempts=1)),
        ({"AWS_MAX_ATTEMPTS": "many"}, None, S3Access("us-east-1")),
        ({"AWS_CA_BUNDLE": "/ca.pem"}, None, S3Access("us-east-1", ca_bundle=Path("/ca.pem"))),
    ],
)
def test_variables(environ: dict[str, str], named: str | None, access: S3Access) -> None:
    assert s3_access(NOWHERE | environ, named) == access


def test_the_default_profile(files: dict[str, str]) -> None:
    keys = {"access_key_id": "first", "secret_access_key": "hush%20"}
    found = s3_access(files)
    assert found == S3Access("eu-central-1", "http://minio:9000", keys, attempts=2)


def test_a_named_profile(files: dict[str, str]) -> None:
    keys = {"access_key_id": "second", "secret_access_key": "hush", "session_token": "token"}
    found = s3_access({**files, "AWS_PROFILE": "lab"})
    assert found == S3Access("eu-west-3", keys=keys, ca_bundle=Path("/ca.pem"))


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_who_the_environment_says_we_are_wins(files: dict[str, str], name: str) -> None:
    assert not s3_access({**files, name: "me"}).keys
    assert not s3_access({**files, name: "me", "AWS_PROFILE": "elsewhere"}).keys


def test_profiles_that_do_not_help(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="AWS_PROFILE=gone: there is no such profile"):
        s3_access({**files, "AWS_PROFILE": "gone"})
    with pytest.raises(ValueError, match="has its keys by sso_session, which is not supported"):
        s3_access({**files, "AWS_PROFILE": "elsewhere"})
    (tmp_path / "config").write_text("region = none\n")
    with pytest.raises(ValueError, match="config cannot be read"):
        s3_access(files)
