"""Manifests against the schemas of Kubernetes, of KServe's resources, and of KServe's SDK."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import tools  # type: ignore[import-not-found]  # pytest puts the tests' folder on the path
from torchkeeper.manifest import Values, as_yaml, kserve_objects, kubernetes_objects

FOLDER = Path(__file__).parents[1]
SCHEMAS = FOLDER / "data" / "kserve"

PLAIN = Values("mnist", "torchkeeper:1", "pvc://models/mnist")
FULL = Values(
    "mnist",
    "example.org/torchkeeper:1",
    "s3://bucket/mnist",
    namespace="team",
    protocol="grpc-v2",
    min_replicas=2,
    max_replicas=8,
    cpu="500m",
    service_account="reader",
    storage_secret="keys",
)


def schema(kind: str, version: str) -> dict[str, Any]:
    with gzip.open(SCHEMAS / f"{kind.lower()}s.json.gz") as file:
        found: dict[str, Any] = json.load(file)[version]
        return found


def complaints(document: dict[str, Any]) -> list[str]:
    version = document["apiVersion"].partition("/")[2]
    validator = jsonschema_rs.Draft4Validator(schema(document["kind"], version))
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("values", [PLAIN, FULL], ids=["plain", "full"])
def test_kserves_resources_take_the_objects(values: Values) -> None:
    for document in kserve_objects(values):
        assert not complaints(document), document["kind"]


def test_the_schemas_see_what_is_wrong() -> None:
    _, service = kserve_objects(PLAIN)
    model = service["spec"]["predictor"]["model"]
    model["storageURI"] = model.pop("storageUri")
    service["spec"]["predictor"]["minReplicas"] = "one"
    assert {text.split()[0] for text in complaints(service)} == {"Additional", '"one"'}


@pytest.mark.slow
@pytest.mark.parametrize("values", [PLAIN, FULL], ids=["plain", "full"])
def test_kubernetes_takes_the_objects_strictly_and_without_a_warning(values: Values, tmp_path: Path) -> None:
    assert not refused(as_yaml(kubernetes_objects(values)), tmp_path, expected=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("maxUnavailable: 0", "maxUnavailabel: 0"), ("autoscaling/v2\n", "autoscaling/v2beta2\n")],
)
def test_kubernetes_schemas_see_what_is_wrong(right: str, wrong: str, tmp_path: Path) -> None:
    text = as_yaml(kubernetes_objects(PLAIN))
    assert right in text
    assert refused(text.replace(right, wrong), tmp_path, expected=3)


def refused(text: str, folder: Path, expected: int) -> list[str]:
    """What kubernetes-validate says besides that `expected` objects are right: errors and warnings."""
    path = folder / "manifest.yaml"
    path.write_text(text)
    program = tools.tool("kubernetes-validate") / "kubernetes-validate"
    done = subprocess.run([program, "--strict", path], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    passed = [line for line in lines if re.fullmatch(r"INFO .* passed for resource .*", line)]
    assert len(passed) == expected, lines
    return [line for line in lines if line not in passed]


@pytest.mark.slow
def test_the_classes_of_kserves_sdk_know_every_field(tmp_path: Path) -> None:
    python = tools.tool("kserve") / "python"
    documents = [document for values in (PLAIN, FULL) for document in kserve_objects(values)]
    wrong = json.loads(json.dumps(documents[1]))
    wrong["spec"]["predictor"]["model"]["storageURI"] = "pvc://models/mnist"
    path = tmp_path / "documents.json"
    path.write_text(json.dumps([*documents, wrong]))
    walker = Path(__file__).with_name("walk_kserve_sdk.py")
    done = subprocess.run([python, walker, path], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [[], [], [], [], ["spec.predictor.model.storageURI: no such field"]]
