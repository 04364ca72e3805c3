"""The chart, by the real helm: it is lint-free and renders what `torchkeeper manifest k8s` prints."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import tools  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path
from torchkeeper.manifest import Values, kubernetes_objects

pytestmark = pytest.mark.slow

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "torchkeeper"
NEEDED = {"image": "torchkeeper:1", "storage_uri": "pvc://models/mnist"}


@pytest.fixture(scope="session")
def helm() -> Path:
    """The program, out of the wheel that carries it."""
    folder = tools.tool("helm")
    program: Path = folder / "helm"
    if not program.exists():
        (archive,) = folder.parent.rglob("lambda-layer-kubectl-*.tgz")
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            data = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
        scratch = folder / f"helm.{os.getpid()}"
        scratch.write_bytes(data)
        scratch.chmod(0o755)
        scratch.replace(program)
    return program


def options(values: dict[str, Any]) -> list[str]:
    """As values of the chart, whose names are spelled as Kubernetes spells its own."""
    flags = []
    for name, value in values.items():
        first, *more = name.split("_")
        key = "".join([first, *(word.title() for word in more)])
        flags += ["--set" if isinstance(value, int) else "--set-string", f"{key}={value}"]
    return flags


def run(helm: Path, verb: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    name = ["mnist"] if verb == "template" else []
    command = [helm, verb, *name, CHART, "--namespace", "team", *options(values)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"storage_uri": "pvc://models"},
        {"storage_uri": "pvc://models/team/mnist/", "protocol": "v1", "cpu": "500m", "memory": "512Mi"},
        {
            "image": "example.org:5000/torchkeeper@sha256:" + "0" * 64,
            "storage_uri": "s3://bucket/mnist",
            "protocol": "grpc-v2",
            "min_replicas": 2,
            "max_replicas": 8,
            "target_cpu": 60,
            "drain_delay": 20,
            "drain_timeout": 120,
            "service_account": "reader",
            "storage_secret": "keys",
            "downloader": "fetch:2",
        },
        {"storage_uri": "hf://team/mnist"},
    ],
    ids=["defaults", "whole claim", "claim", "everything", "fetched"],
)
def test_it_renders_what_the_command_prints(helm: Path, more: dict[str, Any]) -> None:
    values = {**NEEDED, **more}
    linted = run(helm, "lint", values)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "WARNING" not in linted.stdout + linted.stderr
    rendered = run(helm, "template", values)
    assert rendered.returncode == 0, rendered.stderr
    found = {document["kind"]: document for document in yaml.safe_load_all(rendered.stdout)}
    wanted = {
        document["kind"]: document
        for document in kubernetes_objects(Values("mnist", namespace="team", **values))
    }
    assert found == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": ""},
        {"storage_uri": ""},
        {"storage_uri": "oci://image"},
        {"storage_uri": "pvc://Claim/mnist"},
        {"storage_uri": "pvc://models/../other"},
        {"storage_uri": "s3://"},
        {"protocol": "v3"},
        {"min_replicas": 0},
        {"min_replicas": 5},
        {"target_cpu": 101},
        {"drain_timeout": -1},
        {"cpu": "0"},
        {"cpu": "one"},
        {"memory": "2GB"},
        {"service_account": "-a"},
        {"replicas": 3},
    ],
    ids=lambda wrong: ",".join(f"{name}={value}" for name, value in wrong.items()),
)
def test_what_the_command_refuses_the_chart_refuses_too(helm: Path, wrong: dict[str, Any]) -> None:
    done = run(helm, "template", {**NEEDED, **wrong})
    assert done.returncode != 0
    (name,) = wrong
    key = options(wrong)[1].partition("=")[0]
    assert (key if name != "min_replicas" else "eplicas") in done.stderr


def test_the_page_installs_what_its_manifest_prints(helm: Path) -> None:
    page = (CHART.parents[2] / "docs" / "kserve.md").read_text()
    (command,) = re.findall(r"^helm install mnist deploy/helm/torchkeeper (.*)$", page, re.MULTILINE)
    rendered = subprocess.run(
        [helm, "template", "mnist", CHART, *shlex.split(command)], capture_output=True, text=True, check=True
    )
    (printed,) = re.findall(r"^torchkeeper manifest k8s (.*) > mnist\.yaml$", page, re.MULTILINE)
    name, *flags = shlex.split(printed)
    given = {flag[2:].replace("-", "_"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    wanted = kubernetes_objects(
        Values(name, given["image"], given["storage_uri"], "default", max_replicas=int(given["max_replicas"]))
    )
    found = list(yaml.safe_load_all(rendered.stdout))
    assert sorted(found, key=kind_of) == sorted(wanted, key=kind_of)


def kind_of(document: dict[str, Any]) -> str:
    kind: str = document["kind"]
    return kind
