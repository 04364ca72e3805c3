"""Plain Kubernetes: how the four objects find each other, and where the models come from."""

from __future__ import annotations

import pytest
from hypothesis import given

from manifest.made import VALUES, values
from torchkeeper.errors import SettingsError
from torchkeeper.manifest.kubernetes import kubernetes_objects, labels
from torchkeeper.manifest.values import Values


@given(VALUES)
def test_the_objects_find_each_other(values: Values) -> None:
    deployment, service, autoscaler, budget = kubernetes_objects(values)
    kinds = [each["kind"] for each in (deployment, service, autoscaler, budget)]
    assert kinds == ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    template = deployment["spec"]["template"]
    (spread,) = template["spec"]["topologySpreadConstraints"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ):
        assert selector == template["metadata"]["labels"] == labels(values)
    assert autoscaler["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }


@given(VALUES)
def test_all_objects_have_the_name_and_the_namespace_that_was_given(values: Values) -> None:
    for each in kubernetes_objects(values):
        assert each["metadata"]["name"] == values.name
        assert each["metadata"].get("namespace", "") == values.namespace


@given(VALUES)
def test_replicas_are_the_autoscalers(values: Values) -> None:
    deployment, _, autoscaler, budget = kubernetes_objects(values)
    assert "replicas" not in deployment["spec"]
    spec = autoscaler["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (values.min_replicas, values.max_replicas)
    (metric,) = spec["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == values.target_cpu
    assert budget["spec"]["maxUnavailable"] == 1


def test_two_releases_in_one_namespace_select_their_own_pods() -> None:
    assert labels(values(name="one")) != labels(values(name="two"))


@given(VALUES)
def test_the_service_leads_port_80_where_the_protocol_is_spoken(values: Values) -> None:
    deployment, service, *_ = kubernetes_objects(values)
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    names = {port["name"]: port["containerPort"] for port in server["ports"]}
    led = {port["port"]: names[port["targetPort"]] for port in service["spec"]["ports"]}
    assert led == ({80: 8081, 8080: 8080} if values.protocol == "grpc-v2" else {80: 8080, 8081: 8081})


@given(VALUES)
def test_a_claim_is_mounted_and_all_else_is_fetched(values: Values) -> None:
    deployment, *_ = kubernetes_objects(values)
    pod = deployment["spec"]["template"]["spec"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "models"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "models"]
    assert mount["readOnly"] is True
    if values.storage.claim:
        assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
        assert mount.get("subPath", "") == values.storage.path
        assert "initContainers" not in pod
    else:
        (init,) = pod["initContainers"]
        assert init["args"] == [values.storage_uri, mount["mountPath"]]
        assert ("envFrom" in init) is bool(values.storage_secret)


@given(VALUES)
def test_the_server_reads_kserves_pod_and_no_cluster(values: Values) -> None:
    pod = kubernetes_objects(values)[0]["spec"]["template"]["spec"]
    assert "--kserve" in pod["containers"][0]["args"]
    assert pod["automountServiceAccountToken"] is False
    assert pod.get("serviceAccountName", "") == values.service_account


@pytest.mark.parametrize("uri", ["oci://image", "modelscope://team/mnist", "file:///models"])
def test_what_only_kserve_can_fetch_is_refused(uri: str) -> None:
    with pytest.raises(SettingsError, match=rf"^--storage-uri '{uri}': only KServe can .* pvc://, gs://"):
        kubernetes_objects(values(storage_uri=uri))
