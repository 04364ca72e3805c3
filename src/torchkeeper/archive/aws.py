"""How S3 is asked: address, region, keys and limits, from the standard variables and files of AWS.

obstore finds most of it by itself (keys in variables, roles of pods and machines); what it does not look at
is here: the files in ~/.aws, AWS_CA_BUNDLE and AWS_MAX_ATTEMPTS. Source: the names and the order of "AWS SDKs
and Tools", environment variables, shared files and process credential provider.
"""

from __future__ import annotations

import configparser
import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Where S3 looks for a bucket that nobody knows the region of.
_FIRST_REGION = "us-east-1"
#: How a profile may have its keys from elsewhere, which is not done here.
_ELSEWHERE = ("sso_session", "sso_start_url", "role_arn")
#: A profile's keys and a process's, by obstore's names.
_IN_PROFILE = {
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}
_BY_PROCESS = {
    "access_key_id": "AccessKeyId",
    "secret_access_key": "SecretAccessKey",
    "session_token": "SessionToken",
}
#: A role that a token in a file stands for: obstore asks for its keys. Its names, and the profile's.
_WEB_IDENTITY = ("role_arn", "web_identity_token_file")
#: Seconds that a process may take for its keys.
_PATIENCE = 60.0
_NO_KEYS = "AWS's credential_process gave no keys"
#: Variables that say who asks.
_IDENTITY = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
#: How often a request is tried where nobody says.
ATTEMPTS = 5


@dataclass(frozen=True)
class S3Access:
    """What S3's client is made with."""

    region: str
    #: The address of a store that speaks S3; None: Amazon's.
    endpoint: str | None = None
    #: Keys from a profile, by obstore's names.
    keys: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: Path | None = None
    #: How often a request is tried.
    attempts: int = ATTEMPTS


def s3_access(environ: Mapping[str, str], named_region: str | None = None) -> S3Access:
    """How to ask for objects; `named_region` is the one that their URL names.

    Raises:
        ValueError: the profile is not there, or has its keys from elsewhere.
    """
    profile = _profile(environ)
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    endpoint = endpoint or profile.get("endpoint_url")
    region = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION") or profile.get("region")
    region = (None if endpoint else named_region) or region or named_region or _FIRST_REGION
    if endpoint is None and region.startswith("cn-"):
        endpoint = f"https://s3.{region}.amazonaws.com.cn"
    bundle = environ.get("AWS_CA_BUNDLE") or profile.get("ca_bundle")
    attempts = environ.get("AWS_MAX_ATTEMPTS") or profile.get("max_attempts", "")
    return S3Access(
        region,
        endpoint,
        _keys(profile, environ) if not any(map(environ.get, _IDENTITY)) else {},
        Path(bundle).expanduser() if bundle else None,
        int(attempts) if attempts.isdecimal() and int(attempts) else ATTEMPTS,
    )


def _keys(profile: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    found = {ours: profile[theirs] for ours, theirs in _IN_PROFILE.items() if theirs in profile}
    if "access_key_id" in found:
        return found
    if all(name in profile for name in _WEB_IDENTITY):
        token = str(Path(profile["web_identity_token_file"]).expanduser())
        named = {"role_session_name": profile["role_session_name"]} if "role_session_name" in profile else {}
        named |= {"endpoint_url_sts": sts} if (sts := environ.get("AWS_ENDPOINT_URL_STS")) else {}
        return {"role_arn": profile["role_arn"], "web_identity_token_file": token, **named}
    for name in _ELSEWHERE:
        if name in profile:
            raise ValueError(
                f"the profile of AWS has its keys by {name}, which is not supported: "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let credential_process get them"
            )
    return _of_process(profile["credential_process"], environ) if "credential_process" in profile else found


def _of_process(command: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The keys that a program prints; what it prints is never repeated, for it is secret.

    Raises:
        ValueError: there are none.
    """
    try:
        done = subprocess.run(
            shlex.split(command),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{_NO_KEYS}: it took more than {_PATIENCE:g} s") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{_NO_KEYS}: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise ValueError(f"{_NO_KEYS}: exit code {done.returncode}, it said: {said[-1][:200]}")
    try:
        given = json.loads(done.stdout)
        found = {ours: given[theirs] for ours, theirs in _BY_PROCESS.items() if given.get(theirs)}
    except (ValueError, AttributeError):
        given, found = {}, {}
    if given.get("Version") != 1 or not found.keys() >= {"access_key_id", "secret_access_key"}:
        raise ValueError(f"{_NO_KEYS}: it printed no JSON of Version 1 with them")
    return {ours: str(value) for ours, value in found.items()}


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    """What the shared files say of the chosen profile; those of credentials come first."""
    named = environ.get("AWS_PROFILE")
    name = named or "default"
    config = _sections(environ.get("AWS_CONFIG_FILE") or "~/.aws/config")
    credentials = _sections(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")
    found = [config.get(f"profile {name}") or (config.get(name) if name == "default" else None)]
    found.append(credentials.get(name))
    if named and not any(found):
        raise ValueError(f"AWS_PROFILE={named}: there is no such profile")
    return {key: value for section in found for key, value in (section or {}).items()}


def _sections(file: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(Path(file).expanduser())
    except (configparser.Error, OSError, RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    return {name: dict(parser.items(name)) for name in parser.sections()}
