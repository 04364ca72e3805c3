"""The container of every manifest: its command line, its time to stop, its rights, its ports."""

from __future__ import annotations

from hypothesis import given

from manifest.made import VALUES, pods, values
from torchkeeper import deadlines
from torchkeeper.config.table import BY_NAME
from torchkeeper.manifest import pod
from torchkeeper.manifest.pod import MODELS, arguments, metadata, resources, volumes
from torchkeeper.manifest.values import Values


def test_the_command_line_is_kserves_for_torchserve() -> None:
    assert arguments("--kserve") == [
        "torchserve",
        "--start",
        "--model-store=/mnt/models/model-store",
        "--ts-config=/mnt/models/config/config.properties",
        "--disable-token-auth",
        "--kserve",
    ]


def test_a_container_runs_the_image_with_these_arguments() -> None:
    made = pod.container("server", values(image="example.org/server:2"), ["torchserve"])
    assert (made["name"], made["image"], made["args"]) == ("server", "example.org/server:2", ["torchserve"])


def test_processors_and_memory_are_the_request_and_the_limit() -> None:
    same = {"cpu": "500m", "memory": "1Gi"}
    assert resources("500m", "1Gi") == {"requests": same, "limits": same}
    assert pod.container("server", values(cpu="500m", memory="1Gi"), [])["resources"] == resources(
        "500m", "1Gi"
    )


def test_a_namespace_is_said_only_if_one_is_given() -> None:
    assert metadata("m", values()) == {"name": "m"}
    named = {"name": "m", "namespace": "team", "labels": {"a": "b"}}
    assert metadata("m", values(namespace="team"), labels={"a": "b"}) == named


def test_no_two_objects_share_a_list_that_one_of_them_may_add_to() -> None:
    one, other = (pod.container("server", values(), []) for _ in range(2))
    one["volumeMounts"].append({"name": "models", "mountPath": MODELS})
    assert one["volumeMounts"] != other["volumeMounts"]
    assert volumes() is not volumes()


@given(VALUES)
def test_a_stop_has_time_for_its_drain(values: Values) -> None:
    for whole, container in pods(values):
        slept = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert slept >= 2 * container["readinessProbe"]["periodSeconds"]
        needed = slept + values.drain_delay + values.drain_timeout + deadlines.WORKER_STOP
        assert whole["terminationGracePeriodSeconds"] >= needed + 10


@given(VALUES)
def test_a_start_has_ten_minutes_and_a_server_that_hangs_has_one(values: Values) -> None:
    for _, container in pods(values):
        patience = {
            name: container[name]["periodSeconds"] * container[name]["failureThreshold"]
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert patience == {"startupProbe": 600, "livenessProbe": 60, "readinessProbe": 10}
        paths = {name: container[name]["httpGet"]["path"] for name in patience}
        live, ready = "/v2/health/live", "/v2/health/ready"
        assert paths == {"startupProbe": live, "livenessProbe": live, "readinessProbe": ready}


@given(VALUES)
def test_containers_have_no_rights_and_write_to_volumes_only(values: Values) -> None:
    for whole, container in pods(values):
        for each in (container, *whole.get("initContainers", ())):
            rights = each["securityContext"]
            assert rights["runAsNonRoot"] is True
            assert rights["runAsUser"] == 1000
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in each["volumeMounts"]} <= {
                volume["name"] for volume in whole["volumes"]
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
