"""What a cluster would refuse is refused first, by the option's name."""

from __future__ import annotations

import dataclasses

import pytest

from torchkeeper.errors import SettingsError
from torchkeeper.manifest.values import DOWNLOADED, KSERVE_ONLY, Storage, Values

GOOD = Values("mnist", "example.org/torchkeeper:1.0", "pvc://models/team/mnist")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", "Mnist"),
        ("name", "1st"),
        ("name", "a_b"),
        ("name", "mnist-"),
        ("name", ""),
        ("name", "a\n"),
        ("name", "a" * 54),
        ("image", ""),
        ("image", "two words"),
        ("image", "example.org/torchkeeper:1.0 --privileged"),
        ("image", "-x"),
        ("namespace", "Team"),
        ("namespace", "a" * 64),
        ("protocol", "v3"),
        ("min_replicas", 0),
        ("min_replicas", -1),
        ("min_replicas", 5),
        ("max_replicas", 0),
        ("max_replicas", 100_000),
        ("target_cpu", 0),
        ("target_cpu", 101),
        ("drain_delay", -1),
        ("drain_timeout", 86_401),
        ("cpu", "0"),
        ("cpu", "0m"),
        ("cpu", "one"),
        ("cpu", "1.5m"),
        ("cpu", "-1"),
        ("memory", "0Gi"),
        ("memory", "2GB"),
        ("memory", "2 Gi"),
        ("service_account", "a..b"),
        ("service_account", "-a"),
        ("runtime", ""),
        ("storage_secret", "a/b"),
        ("downloader", ""),
        ("storage_uri", ""),
        ("storage_uri", "mnist"),
        ("storage_uri", "/models/mnist"),
        ("storage_uri", "ftp://host/mnist"),
        ("storage_uri", "s3:/bucket"),
        ("storage_uri", "s3://"),
        ("storage_uri", "s3://bucket/a b"),
        ("storage_uri", "http://[::1"),
        ("storage_uri", "pvc://"),
        ("storage_uri", "pvc:///mnist"),
        ("storage_uri", "pvc://Claim/mnist"),
        ("storage_uri", "pvc://claim/../other"),
        ("storage_uri", "pvc://claim/mnist?x=1"),
        ("storage_uri", "s3://bucket/" + "x" * 3000),
    ],
)
def test_bad_values_are_named_in_one_short_line(option: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        dataclasses.replace(GOOD, **{option: value})  # type: ignore[arg-type]  # by name
    message = caught.value.message
    named = "--max-replicas" if option == "min_replicas" and value == 5 else f"--{option.replace('_', '-')}"
    assert message.startswith("NAME " if option == "name" else f"{named} ")
    assert len(message) < 300
    assert "\n" not in message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", "a" * 53),
        ("image", "localhost:5000/team/torchkeeper"),
        ("image", "torchkeeper@sha256:" + "0" * 64),
        ("cpu", "0.5"),
        ("cpu", "500m"),
        ("memory", "512Mi"),
        ("memory", "2000000000"),
        ("service_account", "models.reader-1"),
        ("storage_uri", "https://example.org/models/mnist.zip?version=1"),
        *(("storage_uri", f"{scheme}://place/mnist") for scheme in (*DOWNLOADED, *KSERVE_ONLY)),
        ("storage_uri", "file:///models"),
    ],
)
def test_what_clusters_take_is_taken(option: str, value: object) -> None:
    assert getattr(dataclasses.replace(GOOD, **{option: value}), option) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "storage"),
    [
        ("pvc://models", Storage("pvc", "models", "")),
        ("pvc://models/", Storage("pvc", "models", "")),
        ("pvc://models/team/mnist/", Storage("pvc", "models", "team/mnist")),
        ("s3://bucket/mnist", Storage("s3")),
    ],
)
def test_a_claim_is_told_from_its_path(uri: str, storage: Storage) -> None:
    assert dataclasses.replace(GOOD, storage_uri=uri).storage == storage
