"""Plain Kubernetes: a Deployment with its Service, HorizontalPodAutoscaler and PodDisruptionBudget.

Pure. deploy/helm/torchkeeper renders the same objects; a test compares the two.
"""

from __future__ import annotations

from torchkeeper.errors import SettingsError
from torchkeeper.manifest.pod import (
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    MODELS,
    TEMP,
    Object,
    arguments,
    container,
    container_ports,
    grace,
    metadata,
    resources,
    rolling_update,
    security_context,
    volumes,
)
from torchkeeper.manifest.values import DOWNLOADED, Values

_H2C = "kubernetes.io/h2c"


def kubernetes_objects(values: Values) -> list[Object]:
    """The four objects; models that are not in a claim are fetched by an init container.

    Raises:
        SettingsError: the storage URI is one that only KServe itself can resolve.
    """
    if values.storage.scheme not in ("pvc", *DOWNLOADED):
        known = ", ".join(f"{scheme}://" for scheme in ("pvc", *DOWNLOADED))
        raise SettingsError(
            f"--storage-uri {values.storage_uri[:100]!r}: only KServe can resolve that; "
            f"without it use one of {known}"
        )
    return [
        _deployment(values),
        _service(values),
        _autoscaler(values),
        _disruption_budget(values),
    ]


def labels(values: Values) -> dict[str, str]:
    """What the pods are selected by."""
    return {"app.kubernetes.io/name": "torchkeeper", "app.kubernetes.io/instance": values.name}


def _deployment(values: Values) -> Object:
    named = labels(values)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(values.name, values, labels=named),
        # No replicas: they are the autoscaler's, and applying the manifest again would reset them.
        "spec": {
            "selector": {"matchLabels": named},
            "strategy": rolling_update(),
            "template": {
                "metadata": {
                    "labels": named,
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": str(METRICS_PORT),
                        "prometheus.io/path": "/metrics",
                    },
                },
                "spec": _pod(values),
            },
        },
    }


def _pod(values: Values) -> Object:
    server = container("torchkeeper", values, arguments("--kserve"))
    server["ports"] = container_ports(values.protocol)
    server["volumeMounts"].append(_models_mount(values))
    account = {"serviceAccountName": values.service_account} if values.service_account else {}
    init = {} if values.storage.claim else {"initContainers": [_downloader(values)]}
    return {
        **account,
        "automountServiceAccountToken": False,
        # A Service called `ts` would put variables like ours into every pod.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace(values),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels(values)},
            }
        ],
        **init,
        "containers": [server],
        "volumes": [*volumes(), _models_volume(values)],
    }


def _models_mount(values: Values) -> Object:
    inside = {"subPath": values.storage.path} if values.storage.path else {}
    return {"name": "models", "mountPath": MODELS, **inside, "readOnly": True}


def _models_volume(values: Values) -> Object:
    if values.storage.claim:
        claim = {"claimName": values.storage.claim, "readOnly": True}
        return {"name": "models", "persistentVolumeClaim": claim}
    return {"name": "models", "emptyDir": {}}


def _downloader(values: Values) -> Object:
    secret = values.storage_secret
    credentials = {"envFrom": [{"secretRef": {"name": secret}}]} if secret else {}
    return {
        "name": "storage-initializer",
        "image": values.downloader,
        "args": [values.storage_uri, MODELS],
        "env": [{"name": "HOME", "value": TEMP}],
        **credentials,
        "resources": resources("1", "1Gi"),
        "securityContext": security_context(),
        "volumeMounts": [{"name": "models", "mountPath": MODELS}, {"name": "temp", "mountPath": TEMP}],
    }


def _service(values: Values) -> Object:
    """As KServe's: port 80 leads to the protocol's port, the other has its own number."""
    first_is_grpc = values.protocol == "grpc-v2"
    http = {"name": "http", "port": HTTP_PORT if first_is_grpc else 80, "targetPort": "http1"}
    grpc = {
        "name": "grpc",
        "port": 80 if first_is_grpc else GRPC_PORT,
        "targetPort": "h2c",
        "appProtocol": _H2C,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(values.name, values, labels=labels(values)),
        "spec": {"selector": labels(values), "ports": [grpc, http] if first_is_grpc else [http, grpc]},
    }


def _autoscaler(values: Values) -> Object:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(values.name, values, labels=labels(values)),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": values.name},
            "minReplicas": values.min_replicas,
            "maxReplicas": values.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": values.target_cpu},
                    },
                }
            ],
        },
    }


def _disruption_budget(values: Values) -> Object:
    """One pod at a time may be evicted; a minimum would forbid to empty a node when there is one pod only."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(values.name, values, labels=labels(values)),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels(values)}},
    }
