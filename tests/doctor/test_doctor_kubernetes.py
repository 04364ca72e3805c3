"""What becomes of KServe's and Kubernetes' objects."""

from __future__ import annotations

import pytest

from torchkeeper.doctor.finding import Verdict
from torchkeeper.doctor.kubernetes import examine_objects

WORKS, CHANGED, IGNORED, BROKEN, UNKNOWN = (
    *(Verdict.WORKS, Verdict.CHANGED, Verdict.IGNORED),
    *(Verdict.BROKEN, Verdict.UNKNOWN),
)
SERVICE = (
    "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: m}\n"
    "spec:\n  predictor:\n"
)
RUNTIME = "apiVersion: serving.kserve.io/v1alpha1\nkind: ClusterServingRuntime\nmetadata: {name: r}\nspec:\n"
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: "


def told(text: str) -> list[tuple[str, Verdict]]:
    return [(one.what, one.verdict) for one in examine_objects(text, "o.yaml")]


@pytest.mark.parametrize(
    ("predictor", "expected"),
    [
        ("    pytorch: {storageUri: 'gs://b/m'}", [("runtime", CHANGED), ("storageUri", WORKS)]),
        ("    model: {modelFormat: {name: pytorch}}", [("runtime", CHANGED)]),
        ("    model: {modelFormat: {name: pytorch}, runtime: kserve-torchserve}", [("runtime", CHANGED)]),
        ("    model: {modelFormat: {name: pytorch}, runtime: torchkeeper, protocolVersion: v2}", []),
        ("    model: {modelFormat: {name: sklearn}}", [("modelFormat", WORKS)]),
        ("    pytorch: {image: 'example.org/torchkeeper:1.0'}", [("image", WORKS)]),
        (
            "    pytorch: {image: 'pytorch/torchserve-kfs:a', runtimeVersion: 0.9.0, protocolVersion: v3}",
            [("runtimeVersion", CHANGED), ("protocolVersion", IGNORED), ("image", CHANGED)],
        ),
        (
            "    containers: [{image: pytorch/torchserve, command: [torchserve, --start], env: [{name: "
            "TS_SERVICE_ENVELOPE, value: json}, {name: OTHER}]}]",
            [("image", CHANGED), ("torchserve", WORKS), ("env TS_SERVICE_ENVELOPE", UNKNOWN)],
        ),
    ],
)
def test_inference_services(predictor: str, expected: list[tuple[str, Verdict]]) -> None:
    found = told(SERVICE + predictor)
    assert found == ([(f"InferenceService m {what}", verdict) for what, verdict in expected] or NOTHING)


NOTHING = [("file", UNKNOWN)]


def test_runtimes_deployments_and_lists() -> None:
    runtime = RUNTIME + "  containers: [{image: pytorch/torchserve-kfs, args: [torchserve, --start]}]\n"
    deployment = DEPLOYMENT + "{containers: [{image: pytorch/torchserve}]}}}\n"
    listed = "kind: List\nitems:\n- {kind: Pod, spec: {initContainers: [{image: a}], containers: [3]}}\n"
    assert told(f"# all\n---\n{runtime}---\n{deployment}--- # last\n{listed}") == [
        ("ClusterServingRuntime r image", CHANGED),
        ("ClusterServingRuntime r torchserve", WORKS),
        ("Deployment d image", CHANGED),
        ("Pod image", WORKS),
    ]


def test_an_older_service_is_not_known() -> None:
    text = SERVICE.replace("serving.kserve.io/v1beta1", "serving.kubeflow.org/v1alpha2") + "    x: {}\n"
    assert told(text) == [("InferenceService m apiVersion", UNKNOWN)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "file"),
        ("a: 1", "file"),
        ("- 1\n- [", "document 0"),
        ("kind: Pod\nspec: 3", "file"),
        ("kind: InferenceService\nspec: {predictor: []}\napiVersion: x/v1beta1", "file"),
        ("items: [1, {spec: {containers: {}}}]", "file"),
    ],
)
def test_what_is_no_object(text: str, what: str) -> None:
    assert told(text) == [(what, UNKNOWN)]
