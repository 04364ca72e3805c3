"""The container that every manifest has: what is run, how it is asked for its health, and what it may not do.

Pure. Paths are those of docker/Dockerfile's image and of KServe's layout for TorchServe.
"""

from __future__ import annotations

from typing import Any

from torchkeeper.deadlines import WORKER_STOP
from torchkeeper.manifest.values import Values

Object = dict[str, Any]

#: Where the models are: config/config.properties and model-store below it.
MODELS = "/mnt/models"
TEMP = "/tmp"
LOGS = "/home/model-server/logs"
#: The image's user, model-server.
USER = 1000
HTTP_PORT = 8080
GRPC_PORT = 8081
METRICS_PORT = 8082
#: Seconds between the pod's removal from its Service and SIGTERM: balancers hear of the removal meanwhile.
PRE_STOP = 10
#: Seconds for all that comes after the drain besides the workers: snapshot, logs, the interpreter's end.
_MARGIN = 15
#: Seconds that models may take to be fetched and unpacked before the server listens.
STARTUP = 600
_LOG_SPACE = "1Gi"


def grace(values: Values) -> int:
    """Seconds from the pod's removal until it is killed: the server's own end fits into them."""
    return PRE_STOP + values.drain_delay + values.drain_timeout + int(WORKER_STOP) + _MARGIN


def arguments(*more: str) -> list[str]:
    """The container's command line, KServe's for TorchServe.

    Tokens are off, as in KServe's samples: the cluster's network policy or mesh says who may ask.
    """
    return [
        *("torchserve", "--start"),
        f"--model-store={MODELS}/model-store",
        f"--ts-config={MODELS}/config/config.properties",
        "--disable-token-auth",
        *more,
    ]


def container(name: str, values: Values, args: list[str]) -> Object:
    """The server's container, without ports and without the models' volume."""
    return {
        "name": name,
        "image": values.image,
        "args": args,
        "env": [
            {"name": "TEMP", "value": TEMP},
            {"name": "TMPDIR", "value": TEMP},
            {"name": "XDG_CACHE_HOME", "value": f"{TEMP}/cache"},
            {"name": "LOG_LOCATION", "value": LOGS},
        ],
        "resources": resources(values.cpu, values.memory),
        "startupProbe": _probe("/v2/health/live", period=5, failures=STARTUP // 5),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=6),
        "readinessProbe": _probe("/v2/health/ready", period=5, failures=2),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PRE_STOP)]}}},
        "securityContext": security_context(),
        "volumeMounts": [{"name": "temp", "mountPath": TEMP}, {"name": "logs", "mountPath": LOGS}],
    }


def _probe(path: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def security_context() -> Object:
    """No root, no way to more rights, nothing writable but the volumes."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def resources(cpu: str, memory: str) -> Object:
    """As much as asked for and no more: the server divides the limit's processors among its workers."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def volumes() -> list[Object]:
    """Where the container may write."""
    return [
        {"name": "temp", "emptyDir": {}},
        {"name": "logs", "emptyDir": {"sizeLimit": _LOG_SPACE}},
    ]


def container_ports(protocol: str) -> list[Object]:
    """The port of the protocol first: KServe's Service leads its port 80 there. h2c tells meshes of gRPC."""
    ports = [
        {"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"},
        {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
    ]
    return ports[::-1] if protocol == "grpc-v2" else ports


def metadata(name: str, values: Values, **more: Object) -> Object:
    """An object's metadata, in the namespace if one is given."""
    where = {"namespace": values.namespace} if values.namespace else {}
    return {"name": name, **where, **more}


def rolling_update() -> Object:
    """A new pod is ready before an old one leaves."""
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
