"""The command: YAML on stdout, or exit code 2 and one line that says what to change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from torchkeeper.cli import torchkeeper
from torchkeeper.manifest import Values, kserve_objects, kubernetes_objects

NEEDED = ("mnist", "--image", "torchkeeper:1", "--storage-uri", "pvc://models/mnist")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert torchkeeper(["manifest", *arguments]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def test_it_prints_the_objects_at_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    values = Values("mnist", "torchkeeper:1", "pvc://models/mnist")
    assert printed(capsys, "kserve", *NEEDED) == kserve_objects(values)
    assert printed(capsys, "k8s", *NEEDED) == kubernetes_objects(values)


def test_every_option_reaches_the_objects(capsys: pytest.CaptureFixture[str]) -> None:
    shared = {
        "namespace": "team",
        "protocol": "grpc-v2",
        "min_replicas": 2,
        "max_replicas": 8,
        "target_cpu": 60,
        "cpu": "2",
        "memory": "4Gi",
        "drain_delay": 20,
        "drain_timeout": 120,
        "service_account": "reader",
    }
    own = {
        "kserve": ({"runtime": "torchkeeper-gpu"}, kserve_objects),
        "k8s": ({"storage_secret": "keys", "downloader": "fetch:2"}, kubernetes_objects),
    }
    for platform, (more, make) in own.items():
        given = {**shared, **more}
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        uri = "s3://bucket/mnist"
        found = printed(capsys, platform, "mnist", "--image=torchkeeper:1", f"--storage-uri={uri}", *flags)
        assert found == make(Values("mnist", "torchkeeper:1", uri, **given))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("k8s", *NEEDED, "--memory", "2GB"),
            "torchkeeper manifest k8s: error: --memory '2GB': must be bytes",
        ),
        (("kserve", *NEEDED, "--min-replicas", "0"), "--min-replicas 0: must be from 1"),
        (
            ("k8s", *NEEDED[:-1], "oci://image"),
            "only KServe can resolve that; without it use one of pvc://, gs://",
        ),
    ],
)
def test_a_bad_value_is_exit_code_2_and_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torchkeeper(["manifest", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nomad", *NEEDED),
        ("k8s", "mnist"),
        ("k8s", *NEEDED, "--min-replicas", "x"),
        ("k8s", *NEEDED, "--runtime=x"),
        ("k8s", *NEEDED, "--storage-ur", "s3://b"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_too(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        torchkeeper(["manifest", *arguments])
    assert caught.value.code == 2
    assert "usage: torchkeeper" in capsys.readouterr().err


@pytest.mark.slow
def test_the_installed_command_prints_yaml() -> None:
    program = Path(sys.executable).with_name("torchkeeper")
    done = subprocess.run([program, "manifest", "k8s", *NEEDED], check=True, capture_output=True, text=True)
    assert [found["kind"] for found in yaml.safe_load_all(done.stdout)] == [
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    ]
