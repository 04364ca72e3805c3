"""What is promised of every manifest, whatever it was made from."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper import deadlines
from torchkeeper.config.table import BY_NAME
from torchkeeper.manifest import Values, as_yaml, kserve_objects, kubernetes_objects
from torchkeeper.manifest.values import PROTOCOLS

VALUES = st.builds(
    Values,
    name=st.sampled_from(["mnist", "a-1"]),
    image=st.just("torchkeeper:1"),
    storage_uri=st.sampled_from(["pvc://models", "pvc://models/a/b", "s3://bucket/mnist", "hf://team/mnist"]),
    namespace=st.sampled_from(["", "team"]),
    protocol=st.sampled_from(PROTOCOLS),
    min_replicas=st.integers(1, 3),
    max_replicas=st.integers(3, 9),
    cpu=st.sampled_from(["1", "500m"]),
    service_account=st.sampled_from(["", "reader"]),
    storage_secret=st.sampled_from(["", "keys"]),
)


def pods(values: Values) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pod and server's container of both platforms, as KServe would put its own together."""
    deployment, *_ = kubernetes_objects(values)
    plain = deployment["spec"]["template"]["spec"]
    runtime, service = kserve_objects(values)
    predictor = service["spec"]["predictor"]
    merged = {**runtime["spec"]["containers"][0], "ports": predictor["model"]["ports"]}
    return [(plain, plain["containers"][0]), ({**runtime["spec"], **predictor}, merged)]


@given(VALUES)
def test_a_stop_has_time_for_its_drain(values: Values) -> None:
    for pod, container in pods(values):
        slept = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert slept >= 2 * container["readinessProbe"]["periodSeconds"]
        needed = slept + deadlines.DRAIN + deadlines.WORKER_STOP
        assert pod["terminationGracePeriodSeconds"] >= needed + 10


@given(VALUES)
def test_containers_have_no_rights_and_write_to_volumes_only(values: Values) -> None:
    for pod, container in pods(values):
        for each in (container, *pod.get("initContainers", ())):
            rights = each["securityContext"]
            assert rights["runAsNonRoot"] is True
            assert rights["runAsUser"] == 1000
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in each["volumeMounts"]} <= {
                volume["name"] for volume in pod["volumes"]
            }
        writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        told = {entry["name"]: entry["value"] for entry in container["env"]}
        assert writable == [told["TEMP"], told["LOG_LOCATION"]]
        assert told["TMPDIR"] == told["TEMP"]


@given(VALUES)
def test_the_ports_are_those_that_the_server_opens_for_kserve(values: Values) -> None:
    http, grpc = (int(BY_NAME[f"kserve_{name}_port"].default) for name in ("http", "grpc"))
    for _, container in pods(values):
        ports = [port["containerPort"] for port in container["ports"]]
        assert ports == ([grpc, http] if values.protocol == "grpc-v2" else [http, grpc])
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == http


@given(VALUES)
def test_the_service_leads_port_80_where_the_protocol_is_spoken(values: Values) -> None:
    deployment, service, *_ = kubernetes_objects(values)
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    names = {port["name"]: port["containerPort"] for port in server["ports"]}
    led = {port["port"]: names[port["targetPort"]] for port in service["spec"]["ports"]}
    assert led == ({80: 8081, 8080: 8080} if values.protocol == "grpc-v2" else {80: 8080, 8081: 8081})
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


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
def test_the_yaml_says_the_same_without_anchors(values: Values) -> None:
    for objects in (kubernetes_objects(values), kserve_objects(values)):
        text = as_yaml(objects)
        assert list(yaml.safe_load_all(text)) == objects
        assert "&id" not in text
