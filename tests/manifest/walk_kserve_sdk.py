"""Run by the interpreter of KServe's SDK: which fields of a document do the SDK's model classes not know?

Reads a JSON file with a list of documents, prints a list of complaints for each.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import kserve.models
import kubernetes.client.models

CLASSES = {
    "ClusterServingRuntime": "V1alpha1ClusterServingRuntime",
    "InferenceService": "V1beta1InferenceService",
}
PLAIN = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "object": object,
    "date": str,
    "datetime": str,
}
#: Quantities and numbers or names of ports; the SDK leaves their form open.
EITHER = {"ResourceQuantity": (str, int), "K8sIoApimachineryPkgUtilIntstrIntOrString": (str, int)}


def walk(value: object, kind: str, path: str) -> list[str]:
    if found := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{path}: no list"]
        return [text for index, item in enumerate(value) for text in walk(item, found[1], f"{path}[{index}]")]
    if found := re.fullmatch(r"[Dd]ict[(\[]\w+, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            return [f"{path}: no mapping"]
        return [text for key, item in value.items() for text in walk(item, found[1], f"{path}.{key}")]
    if kind in PLAIN or kind in EITHER:
        wanted = PLAIN.get(kind) or EITHER[kind]
        return [] if isinstance(value, wanted) else [f"{path}: no {kind}"]
    model = class_of(kind)
    if not isinstance(value, dict):
        return [f"{path}: no {kind}"]
    named = {field: attribute for attribute, field in model.attribute_map.items()}
    complaints = []
    for field, item in value.items():
        where = f"{path}.{field}".lstrip(".")
        if field not in named:
            complaints.append(f"{where}: no such field")
        else:
            complaints += walk(item, model.openapi_types[named[field]], where)
    return complaints


def class_of(kind: str) -> type:
    name = re.sub(r"^(K8sIoApiCore|K8sIoApiAutoscaling|K8sIoApiApps|K8sIoApimachineryPkgApisMeta)", "", kind)
    for module in (kserve.models, kubernetes.client.models):
        for candidate in (kind, name):
            if hasattr(module, candidate):
                return getattr(module, candidate)
    raise LookupError(f"no class is called {kind}")


documents = json.loads(Path(sys.argv[1]).read_text())
print(json.dumps([walk(document, CLASSES[document["kind"]], "") for document in documents]))
