"""Records the names that handlers import from TorchServe, with their parameters, for test_ts_facade.py.

Run by hand, when the façade grows; it only reads the source files of an installed TorchServe:

    python tests/compat/record_surface.py SITE_PACKAGES/ts > tests/compat/surface.json
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

#: Module -> names that the façade promises.
WANTED = {
    "ts.context": ["Context", "RequestProcessor"],
    "ts.handler_utils.timer": ["timed"],
    "ts.handler_utils.utils": ["import_class", "send_intermediate_predict_response"],
    "ts.metrics.caching_metric": ["CachingMetric"],
    "ts.metrics.dimension": ["Dimension"],
    "ts.metrics.metric": ["Metric"],
    "ts.metrics.metric_cache_errors": [
        "GeneralMetricsCacheError",
        "MetricsCacheIOError",
        "MetricsCacheKeyError",
        "MetricsCachePyYamlError",
        "MetricsCacheTypeError",
        "MetricsCacheValueError",
    ],
    "ts.metrics.metric_cache_yaml_impl": ["MetricsCacheYamlImpl"],
    "ts.metrics.metric_type_enum": ["MetricTypes"],
    "ts.metrics.unit": ["Units"],
    "ts.protocol.otf_message_handler": ["send_intermediate_predict_response"],
    "ts.torch_handler.base_handler": ["BaseHandler"],
    "ts.torch_handler.densenet_handler": ["DenseNetHandler", "list_classes_from_module"],
    "ts.torch_handler.image_classifier": ["ImageClassifier"],
    "ts.torch_handler.image_segmenter": ["ImageSegmenter"],
    "ts.torch_handler.object_detector": ["ObjectDetector"],
    "ts.torch_handler.request_envelope.base": ["BaseEnvelope"],
    "ts.torch_handler.request_envelope.body": ["BodyEnvelope"],
    "ts.torch_handler.request_envelope.json": ["JSONEnvelope"],
    "ts.torch_handler.request_envelope.kserve": ["KServeEnvelope"],
    "ts.torch_handler.request_envelope.kservev2": ["KServev2Envelope"],
    "ts.torch_handler.unit_tests.test_utils.mock_context": ["MockContext"],
    "ts.torch_handler.vision_handler": ["VisionHandler"],
    "ts.utils.timeit_decorator": ["timeit"],
    "ts.utils.util": [
        "CLEANUP_REGEX",
        "PT2Backend",
        "PredictionException",
        "check_valid_pt2_backend",
        "deprecated",
        "get_yaml_config",
        "list_classes_from_module",
        "load_label_mapping",
        "map_class_to_label",
    ],
}

#: Underscore methods that handlers override or call.
PROMISED = {
    "__init__",
    "_infer_with_profiler",
    "_is_describe",
    "_is_explain",
    "_load_pickled_model",
    "_load_torchscript_model",
}

#: Public methods that belong to the way TorchServe's numbers travel (as lines of a log), not to handlers.
INTERNAL = {"emit_metrics"}

#: Methods that TorchServe's class inherits from a module that is not promised.
INHERITED = {"MetricsCacheYamlImpl": ("metrics/metric_cache_abstract.py", "MetricCacheAbstract")}


def parameters(function: ast.FunctionDef) -> list[str]:
    """`name`, or `name=default` where the default is a plain constant, or `name=...`; `*` forms included."""
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    found = [_parameter(argument.arg, value) for argument, value in zip(plain, defaults, strict=True)]
    found += [f"*{given.vararg.arg}"] if given.vararg else []
    found += [
        _parameter(one.arg, value) for one, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    return found + ([f"**{given.kwarg.arg}"] if given.kwarg else [])


def _parameter(name: str, default: ast.expr | None) -> str:
    if default is None:
        return name
    return f"{name}={default.value!r}" if isinstance(default, ast.Constant) else f"{name}=..."


def methods(node: ast.ClassDef) -> dict[str, list[str]]:
    """Public methods, and the promised underscore ones, with their parameters."""
    return {
        member.name: parameters(member)
        for member in node.body
        if isinstance(member, ast.FunctionDef)
        and member.name not in INTERNAL
        and (not member.name.startswith("_") or member.name in PROMISED)
        and not any(
            isinstance(mark, ast.Attribute) and mark.attr == "setter" for mark in member.decorator_list
        )
    }


def _definition(path: Path, name: str) -> ast.stmt:
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        if any(name in (getattr(one, "name", None), getattr(one, "id", None)) for one in targets):
            return node
    raise SystemExit(f"{path} has no {name}")


def surface(root: Path, module: str, name: str) -> Any:
    """A class's {method: parameters}, a function's parameters, or None for any other name."""
    node = _definition(root.joinpath(*module.split(".")[1:]).with_suffix(".py"), name)
    if isinstance(node, ast.FunctionDef):
        return parameters(node)
    if not isinstance(node, ast.ClassDef):
        return None
    found = methods(node)
    if name in INHERITED:
        path, parent = INHERITED[name]
        inherited = _definition(root / path, parent)
        assert isinstance(inherited, ast.ClassDef)
        found = methods(inherited) | found
    return dict(sorted(found.items()))


def main() -> None:
    """Prints module -> name -> parameters as JSON."""
    root = Path(sys.argv[1])
    record = {
        module: {name: surface(root, module, name) for name in names} for module, names in WANTED.items()
    }
    json.dump(record, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
