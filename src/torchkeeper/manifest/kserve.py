"""KServe's objects: a ClusterServingRuntime with our image, and an InferenceService that uses it.

Pure. Source: KServe's v1beta1 InferenceService and v1alpha1 ClusterServingRuntime; the runtime is the one
that KServe ships for TorchServe, with our image, probes and rights.
"""

from __future__ import annotations

from torchkeeper.config.kserve_pod import PROTOCOLS
from torchkeeper.manifest.pod import (
    METRICS_PORT,
    Object,
    arguments,
    container,
    container_ports,
    grace,
    metadata,
    rolling_update,
    volumes,
)
from torchkeeper.manifest.values import Values

#: Annotations that say what KServe's defaults leave to its installation.
_MODE = {
    "serving.kserve.io/deploymentMode": "Standard",
    "serving.kserve.io/autoscalerClass": "hpa",
}


def kserve_objects(values: Values) -> list[Object]:
    """The runtime, which the cluster has once, and the service."""
    return [_runtime(values), _service(values)]


def _runtime(values: Values) -> Object:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": values.runtime},
        "spec": {
            "annotations": {
                "prometheus.kserve.io/port": str(METRICS_PORT),
                "prometheus.kserve.io/path": "/metrics",
            },
            # Not chosen by itself: services that are there already keep their runtime.
            "supportedModelFormats": [{"name": "pytorch", "version": "1", "autoSelect": False}],
            "protocolVersions": list(PROTOCOLS),
            "containers": [container("kserve-container", values, arguments())],
            "volumes": volumes(),
        },
    }


def _service(values: Values) -> Object:
    account = {"serviceAccountName": values.service_account} if values.service_account else {}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(values.name, values, annotations=dict(_MODE)),
        "spec": {
            "predictor": {
                "minReplicas": values.min_replicas,
                "maxReplicas": values.max_replicas,
                "scaleMetric": "cpu",
                "scaleTarget": values.target_cpu,
                "deploymentStrategy": rolling_update(),
                "terminationGracePeriodSeconds": grace(values),
                **account,
                "model": {
                    "modelFormat": {"name": "pytorch", "version": "1"},
                    "runtime": values.runtime,
                    "protocolVersion": values.protocol,
                    "storageUri": values.storage_uri,
                    # KServe sets it for its own TorchServe runtime only.
                    "env": [{"name": "PROTOCOL_VERSION", "value": values.protocol}],
                    "ports": container_ports(values.protocol),
                },
            }
        },
    }
