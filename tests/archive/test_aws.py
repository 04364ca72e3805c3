"""How S3 is asked: what variables and the files of AWS say, and who wins."""

from __future__ import annotations

import sys
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


def profile(folder: Path, text: str, **environ: str) -> dict[str, str]:
    """The keys by which the only profile has it asked."""
    (folder / "config").write_text(f"[default]\n{text}\n")
    files = {"AWS_CONFIG_FILE": str(folder / "config"), "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    return dict(s3_access({**files, **environ}).keys)


def process(folder: Path, source: str) -> str:
    """A profile whose keys are printed by a program in Python."""
    (folder / "get keys.py").write_text(f"import os, sys\n{source}")
    return f'credential_process = {sys.executable} "{folder}/get keys.py" --of me'


def test_keys_of_a_process(tmp_path: Path) -> None:
    source = """print('{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "hush", "SessionToken": "%s"}'
        % (" ".join(sys.argv[1:]), os.environ["HINT"]))"""
    keys = {"access_key_id": "--of me", "secret_access_key": "hush", "session_token": "hint"}
    assert profile(tmp_path, process(tmp_path, source), HINT="hint") == keys
    own = "aws_access_key_id = own\naws_secret_access_key = hush\n"
    assert profile(tmp_path, own + process(tmp_path, source))["access_key_id"] == "own"
    assert profile(tmp_path, process(tmp_path, source), AWS_ACCESS_KEY_ID="me") == {}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("print('secret')", "it printed no JSON of Version 1 with them"),
        ("print('[1]')", "it printed no JSON of Version 1 with them"),
        ('print(\'{"Version": 1, "AccessKeyId": "a"}\')', "it printed no JSON of Version 1 with them"),
        ("print('secret'); sys.exit('log in\\nfirst')", "exit code 1, it said: first"),
        ("sys.exit(3)", "exit code 3, it said: nothing"),
    ],
)
def test_a_process_without_keys_is_named_and_not_repeated(tmp_path: Path, source: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^AWS's credential_process gave no keys: {why}$"):
        profile(tmp_path, process(tmp_path, source))
    for command, said in (("/nowhere/keys", "No such file"), ("'", "No closing quotation")):
        with pytest.raises(ValueError, match=f"gave no keys: .*{said}"):
            profile(tmp_path, f"credential_process = {command}")


def test_a_role_for_a_token_in_a_file(tmp_path: Path) -> None:
    text = "role_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = /token"
    role = {"role_arn": "arn:aws:iam::1:role/r", "web_identity_token_file": "/token"}
    assert profile(tmp_path, text) == role
    found = profile(tmp_path, f"{text}\nrole_session_name = me", AWS_ENDPOINT_URL_STS="http://h")
    assert found == role | {"role_session_name": "me", "endpoint_url_sts": "http://h"}
    with pytest.raises(ValueError, match="has its keys by role_arn, which is not supported"):
        profile(tmp_path, "role_arn = arn:aws:iam::1:role/r\nsource_profile = other")


def test_profiles_that_do_not_help(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="AWS_PROFILE=gone: there is no such profile"):
        s3_access({**files, "AWS_PROFILE": "gone"})
    with pytest.raises(ValueError, match="has its keys by sso_session, which is not supported"):
        s3_access({**files, "AWS_PROFILE": "elsewhere"})
    (tmp_path / "config").write_text("region = none\n")
    with pytest.raises(ValueError, match="config cannot be read"):
        s3_access(files)
