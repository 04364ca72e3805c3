"""Which import names of TorchServe's are left out on purpose, and what to use instead: one table.

The package `ts` raises an ImportError in its words, `torchkeeper doctor` tells it beforehand. Handlers that
are to come, or never will, stand in `wire.features`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torchkeeper.wire import features

_WORKER = "workers are torchkeeper's own; ts.model_loader loads a handler in any process"
_WIRE = "what crosses between server and workers is torchkeeper's own; a handler returns its values"
_PROCESSES = features.PROCESSES.instead
_TESTS = "TorchServe's own tests; torchkeeper.testing has helpers for yours"
_THREADS = "concurrent.futures.ThreadPoolExecutor does this"
_QUEUE = "ts.launcher.start returns the queue of the server's lines"

#: Module, or module and name -> what to use instead; what lies below a module is left out with it.
_INSTEAD = {
    "ts.arg_parser": "the flags are those of the command: torchserve --help",
    "ts.async_service": _WORKER,
    "ts.handler_utils.distributed.deepspeed": _PROCESSES,
    "ts.handler_utils.distributed.pt_pippy": f"PiPPy is no longer maintained; {_PROCESSES}",
    "ts.handler_utils.micro_batching.WorkerThread": _THREADS,
    "ts.handler_utils.micro_batching.execute_call": _THREADS,
    "ts.launcher.PrintTillTheEnd": _QUEUE,
    "ts.launcher.Tee": _QUEUE,
    "ts.llm_launcher": "vllm serve and trtllm-serve serve language models",
    "ts.model_server.ArgParser": "the flags are those of the command: torchserve --help",
    "ts.model_service": f"it is MXNet Model Server's; derive from ts.torch_handler.base_handler; {_WORKER}",
    "ts.model_service_worker": _WORKER,
    "ts.protocol.otf_message_handler.END_OF_LIST": _WIRE,
    "ts.protocol.otf_message_handler.LOAD_MSG": _WIRE,
    "ts.protocol.otf_message_handler.PREDICT_MSG": _WIRE,
    "ts.protocol.otf_message_handler.RESPONSE": _WIRE,
    "ts.protocol.otf_message_handler.bool_size": _WIRE,
    "ts.protocol.otf_message_handler.create_load_model_response": _WIRE,
    "ts.protocol.otf_message_handler.int_size": _WIRE,
    "ts.protocol.otf_message_handler.retrieve_msg": _WIRE,
    "ts.torch_handler.distributed.base_deepspeed_handler": _PROCESSES,
    "ts.torch_handler.distributed.base_pippy_handler": f"PiPPy is no longer maintained; {_PROCESSES}",
    "ts.torch_handler.unit_tests.conftest": _TESTS,
    "ts.torch_handler.unit_tests.models": _TESTS,
    "ts.torch_handler.unit_tests.test_base_handler": _TESTS,
    "ts.torch_handler.unit_tests.test_envelopes": _TESTS,
    "ts.torch_handler.unit_tests.test_image_classifier": _TESTS,
    "ts.torch_handler.unit_tests.test_image_segmenter": _TESTS,
    "ts.torch_handler.unit_tests.test_mnist_kf": _TESTS,
    "ts.torch_handler.unit_tests.test_object_detector": _TESTS,
    "ts.torch_handler.unit_tests.test_utils.model_dir": _TESTS,
    "ts.utils.hf_utils": "huggingface_hub.snapshot_download downloads a model",
    "ts.utils.setup_model_venv": "python -m venv makes one; install_py_dep_per_model installs requirements",
}
_SENTENCES: Mapping[str, str] = {
    **{name: f"torchkeeper does not have {name}: {instead}" for name, instead in _INSTEAD.items()},
    **{
        f"ts.torch_handler.{name}": feature.asked_by(f"ts.torch_handler.{name}")
        for name, feature in features.HANDLERS.items()
    },
    "ts.handler_utils.preprocess.dali": features.DALI.asked_by("ts.handler_utils.preprocess.dali"),
}


def why_left_out(name: str) -> str | None:
    """The sentence for a module, or a name in one, that is left out on purpose; None for any other."""
    while name and name not in _SENTENCES:
        name = name.rpartition(".")[0]
    return _SENTENCES.get(name)


class _Finder(MetaPathFinder):
    """Asked last: modules that are left out raise their sentence."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        sentence = why_left_out(fullname)
        if sentence is not None:
            raise ImportError(sentence, name=fullname)
        return None


def install() -> None:
    """From now on the import of a module that is left out raises an ImportError with its sentence."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def refusing(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module of which some names are left out."""

    def get(name: str) -> Any:
        sentence = _SENTENCES.get(f"{module}.{name}")
        if sentence is not None:
            raise ImportError(sentence, name=module)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get
