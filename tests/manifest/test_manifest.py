"""Manifests as YAML."""

from __future__ import annotations

import yaml
from hypothesis import given, settings

from manifest.made import VALUES
from torchkeeper.manifest import Values, as_yaml, kserve_objects, kubernetes_objects


@settings(max_examples=10)  # YAML is slow
@given(VALUES)
def test_the_yaml_says_the_same_without_anchors(values: Values) -> None:
    for objects in (kubernetes_objects(values), kserve_objects(values)):
        text = as_yaml(objects)
        assert list(yaml.safe_load_all(text)) == objects
        assert "&id" not in text
