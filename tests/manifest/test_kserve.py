"""KServe's objects: the runtime of the cluster, and the service that asks for it."""

from __future__ import annotations

import pytest
from hypothesis import given

from manifest.made import VALUES, values
from torchkeeper.manifest.kserve import kserve_objects
from torchkeeper.manifest.values import PROTOCOLS, Values


@given(VALUES)
def test_the_service_asks_for_the_runtime_that_stands_beside_it(values: Values) -> None:
    runtime, service = kserve_objects(values)
    assert (runtime["kind"], service["kind"]) == ("ClusterServingRuntime", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"] == values.runtime
    (known,) = runtime["spec"]["supportedModelFormats"]
    assert {name: known[name] for name in ("name", "version")} == model["modelFormat"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


@given(VALUES)
def test_a_runtime_belongs_to_the_cluster_and_a_service_to_a_namespace(values: Values) -> None:
    runtime, service = kserve_objects(values)
    assert runtime["metadata"] == {"name": values.runtime}
    assert service["metadata"]["name"] == values.name
    assert service["metadata"].get("namespace", "") == values.namespace


def test_a_runtime_takes_no_service_that_has_not_asked_for_it() -> None:
    (known,) = kserve_objects(values())[0]["spec"]["supportedModelFormats"]
    assert known["autoSelect"] is False


def test_the_container_has_the_name_that_kserve_looks_for() -> None:
    (container,) = kserve_objects(values())[0]["spec"]["containers"]
    assert container["name"] == "kserve-container"
    assert "--kserve" not in container["args"]  # KServe's own environment says so


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_server_is_told_the_protocol(protocol: str) -> None:
    model = kserve_objects(values(protocol=protocol))[1]["spec"]["predictor"]["model"]
    assert model["protocolVersion"] == protocol
    assert model["env"] == [{"name": "PROTOCOL_VERSION", "value": protocol}]


@given(VALUES)
def test_replicas_follow_the_processors(values: Values) -> None:
    service = kserve_objects(values)[1]
    predictor = service["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (values.min_replicas, values.max_replicas)
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("cpu", values.target_cpu)
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    assert predictor.get("serviceAccountName", "") == values.service_account


@pytest.mark.parametrize("uri", ["pvc://models/a", "s3://bucket/mnist", "oci://image", "file:///models"])
def test_kserve_gets_the_storage_uri_as_it_was_given(uri: str) -> None:
    model = kserve_objects(values(storage_uri=uri))[1]["spec"]["predictor"]["model"]
    assert model["storageUri"] == uri
