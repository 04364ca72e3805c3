"""What becomes of Kubernetes' and KServe's objects that were written for TorchServe.

Source: KServe's v1beta1 InferenceService and its v1alpha1 runtimes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torchkeeper.config.kserve_pod import PROTOCOLS
from torchkeeper.doctor.commands import VARIABLES, WITH_ENVVARS, Check, examine_command, examine_image
from torchkeeper.doctor.finding import Finding, Verdict
from torchkeeper.wire.yaml_text import read_yaml

_SERVICE = "InferenceService"
_RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
_DOCUMENT = re.compile(r"(?m)^---.*$")
#: KServe's own runtime for PyTorch.
_THEIRS = "kserve-torchserve"
_SWITCH = (
    "name torchkeeper's image here, or switch the cluster by two values of KServe's chart (docs/kserve.md)"
)


def examine_objects(text: str, place: str) -> list[Finding]:
    """The findings of all documents; a document of another kind is passed over."""
    found: list[Finding] = []
    for number, document in enumerate(_DOCUMENT.split(text)):
        try:
            content = read_yaml(document)
        except ValueError as error:
            found.append(Finding(place, f"document {number}", Verdict.UNKNOWN, f"is no YAML: {error}"))
            continue
        items = content.get("items") if isinstance(content, dict) else None
        for one in items if isinstance(items, list) else [content]:
            if isinstance(one, dict) and isinstance(one.get("spec"), dict):
                name = f"{one.get('kind')} {_dict(one.get('metadata')).get('name', '')}".strip()
                found += [
                    Finding(place, f"{name} {what}", verdict, why) for what, verdict, why in _checks(one)
                ]
    return found or [Finding(place, "file", Verdict.UNKNOWN, "there is no object in it that runs containers")]


def _checks(content: dict[str, Any]) -> Iterator[Check]:
    spec = content["spec"]
    if content.get("kind") == _SERVICE:
        if "v1beta1" not in str(content.get("apiVersion")):
            why = f"{content.get('apiVersion')} is not looked at: only v1beta1 is"
            yield "apiVersion", Verdict.UNKNOWN, why
        yield from _predictor(_dict(spec.get("predictor")))
    elif content.get("kind") in _RUNTIMES:
        for container in _list(spec.get("containers")):
            yield from _container(container)
    else:
        pod = _dict(_dict(spec.get("template")).get("spec")) or spec
        for container in (*_list(pod.get("initContainers")), *_list(pod.get("containers"))):
            yield from _container(container)


def _predictor(predictor: dict[str, Any]) -> Iterator[Check]:
    model, kind = _dict(predictor.get("pytorch")), "pytorch"
    if not model:
        model = _dict(predictor.get("model"))
        kind = str(_dict(model.get("modelFormat")).get("name", ""))
    for container in _list(predictor.get("containers")):
        yield from _container(container)
    if not model:
        return
    if kind != "pytorch":
        yield "modelFormat", Verdict.WORKS, f"{kind}: none of TorchServe's, nothing changes"
        return
    runtime = str(model.get("runtime") or "")
    if not model.get("image") and runtime in ("", _THEIRS):
        chosen = f"runtime {runtime}" if runtime else f"no runtime is named, so KServe takes {_THEIRS}"
        yield "runtime", Verdict.CHANGED, f"{chosen}: {_SWITCH}"
    if version := model.get("runtimeVersion"):
        why = f"{version} is a tag of the runtime's image: give one of torchkeeper's, or leave it out"
        yield "runtimeVersion", Verdict.CHANGED, why
    protocol = model.get("protocolVersion")
    if protocol and protocol not in PROTOCOLS:
        yield (
            "protocolVersion",
            Verdict.IGNORED,
            f"{protocol} is none of {', '.join(PROTOCOLS)}; all are served",
        )
    if storage := model.get("storageUri"):
        yield "storageUri", Verdict.WORKS, f"{storage}: give its folder to the doctor too"
    yield from _container(model)


def _container(container: dict[str, Any]) -> Iterator[Check]:
    if image := container.get("image"):
        yield "image", *examine_image(str(image))
    words = [*_words(container.get("command")), *_words(container.get("args"))]
    yield from examine_command(" ".join(words))
    for name in (str(one.get("name")) for one in _list(container.get("env"))):
        if name in VARIABLES:
            yield f"env {name}", Verdict.UNKNOWN, WITH_ENVVARS


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _words(value: object) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list) else []
