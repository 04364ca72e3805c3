"""Manifests of every kind: the values that they are made from, and the pods in them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from torchkeeper.manifest import Values, kserve_objects, kubernetes_objects
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
    target_cpu=st.integers(1, 100),
    cpu=st.sampled_from(["1", "500m"]),
    service_account=st.sampled_from(["", "reader"]),
    drain_delay=st.integers(0, 60),
    drain_timeout=st.integers(0, 600),
    runtime=st.sampled_from(["torchkeeper", "torchkeeper-gpu"]),
    storage_secret=st.sampled_from(["", "keys"]),
)


def values(**more: Any) -> Values:
    """The least that a manifest needs, and what a test adds."""
    return Values(**{"name": "mnist", "image": "torchkeeper:1", "storage_uri": "pvc://models", **more})


def pods(values: Values) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pod and server's container of both platforms, as KServe would put its own together."""
    deployment, *_ = kubernetes_objects(values)
    plain = deployment["spec"]["template"]["spec"]
    runtime, service = kserve_objects(values)
    predictor = service["spec"]["predictor"]
    merged = {**runtime["spec"]["containers"][0], "ports": predictor["model"]["ports"]}
    return [(plain, plain["containers"][0]), ({**runtime["spec"], **predictor}, merged)]
