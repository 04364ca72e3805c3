"""How a model's handler text leads to its entry point, in every shape that TorchServe takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from stand_in_outbox import Outbox, request  # type: ignore[import-not-found]  # pytest puts this folder on the path

from handler_shapes import CLASS, SHAPES
from torchkeeper.handler.weights import model_module
from torchkeeper.wire.messages import Declared, Failure, Input, ModelSpec, Reply
from torchkeeper.worker.loader import HandlerNotFound, import_handler, import_model_file, load
from torchkeeper.worker.service import Service


@dataclass
class Loading:
    """Loads models from a folder; what that changes for the process is put back after the test."""

    folder: Path

    def __call__(self, files: dict[str, str], handler: str, **fields: Any) -> Service:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        handler = handler.format(self.folder)
        spec = ModelSpec("m", "1.0", str(self.folder), {}, handler, None, None, 4, None)
        return load(msgspec.structs.replace(spec, **fields), 1000)


@pytest.fixture
def loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = dict(sys.modules)
    yield Loading(tmp_path)
    sys.modules.clear()
    sys.modules.update(before)


def answer(service: Service, *inputs: Input) -> list[Any]:
    outcomes = service.predict(inputs or [request(b"x")], Outbox())
    return [outcome.body.decode() if isinstance(outcome, Reply) else outcome for outcome in outcomes]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_handler_is_found(loading: Loading, shape: str) -> None:
    files, handler = SHAPES[shape]
    assert answer(loading(files, handler)) == ["ok"]


ASYNC = """
from functools import partial
async def handle(data, context): pass
async def _of(first, data, context): pass
go = partial(_of, 1)
async def streams(data, context): yield data
class Called:
    async def __call__(self, data, context): pass
called = Called()
"""


@pytest.mark.parametrize(
    ("source", "handler", "error", "text"),
    [
        ("", "gone.py", HandlerNotFound, "'gone' is neither a module of the archive nor one of the built-in"),
        ("x = 1\n", "h.py", HandlerNotFound, r"Expected only one class .* needs a function handle\(data"),
        ("x = 1\n", "h.py:go", HandlerNotFound, r"Expected only one class .* needs a function go\(data"),
        (CLASS + CLASS.replace("Thing", "Other"), "h.py", HandlerNotFound, "Thing.*Other"),
        ("class A:\n    pass\n", "h.py", HandlerNotFound, "class A has no method initialize"),
        (
            "class A:\n    def initialize(self, c): pass\n",
            "h",
            HandlerNotFound,
            "class A has no method handle",
        ),
        ("import nothing_such\n", "h", ModuleNotFoundError, "No module named 'nothing_such'"),
        ("def handle(data, context):\n    raise OSError('no weights')\n", "h", OSError, "no weights"),
        ("def handle(:\n", "h", SyntaxError, "invalid syntax"),
        (
            "",
            "vllm_handler",
            HandlerNotFound,
            "handler vllm_handler asks for vLLM's engine, which torchkeeper",
        ),
        ("", "gone", HandlerNotFound, r"built-in handlers: base_handler(, \w+)*$"),
        (ASYNC, "h", HandlerNotFound, "async def handle asks for asynchronous handlers, which"),
        (ASYNC, "h:go", HandlerNotFound, "async def go asks for asynchronous handlers, which"),
        (ASYNC, "h:called", HandlerNotFound, "async def called asks for asynchronous handlers, which"),
        (ASYNC, "h:streams", HandlerNotFound, "async def streams asks for asynchronous handlers, which"),
        (
            CLASS.replace("def handle", "async def handle"),
            "h",
            HandlerNotFound,
            r"async def Thing\.handle asks for",
        ),
    ],
)
def test_what_cannot_be_loaded_says_why(
    loading: Loading, source: str, handler: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        loading({"h.py": source}, handler)


def test_an_installed_module_whose_own_imports_fail_is_not_said_to_be_missing(loading: Loading) -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'nothing_such'"):
        loading({"pack/__init__.py": "import nothing_such\n"}, "pack.h")


@pytest.mark.parametrize("name", ["shared.py", "shared/__init__.py"])
def test_a_module_that_is_imported_already_is_not_taken_for_the_archives(loading: Loading, name: str) -> None:
    other = ModuleType("shared")
    other.handle = lambda data, context: data and ["another one"]  # type: ignore[attr-defined]
    sys.modules["shared"] = other
    assert answer(loading({name: CLASS}, "shared")) == ["ok"]


def test_a_handler_is_initialised_once_in_the_models_folder_with_what_is_known_of_it(
    loading: Loading, tmp_path: Path
) -> None:
    source = """
import os

calls = []

def handle(data, context):
    calls.append(data is None)
    if data is None:
        assert (context.model_name, context.manifest) == ("m", {"model": {"a": 1}})
        assert context.model_yaml_config == {"handler": {"b": 2}}
        known = context.system_properties
        assert (known["gpu_id"], known["batch_size"], known["limit_max_image_pixels"]) == (3, 4, False)
        assert context.metrics.cache_keys() == ["counter:Mine"]
        return
    return [[os.getcwd() == context.system_properties["model_dir"], calls]]
"""
    service = loading(
        {"h.py": source},
        "h.py",
        manifest={"model": {"a": 1}},
        model_config={"handler": {"b": 2}},
        gpu_id=3,
        limit_max_image_pixels=False,
        metrics=(Declared("Mine", "counter", "ms", ()),),
    )
    for count in (1, 2):
        (text,) = answer(service)
        assert msgspec.json.decode(text) == [True, [True] + [False] * count]
    assert os.getcwd() == str(tmp_path)
    assert sys.path[0] == str(tmp_path)


def test_the_models_envelope_holds_unless_a_request_names_its_own(loading: Loading) -> None:
    source = "def handle(data, context):\n    return data and [repr(row) for row in data]\n"
    service = loading({"h.py": source}, "h.py", envelope="body")
    assert answer(service) == ["bytearray(b'x')"]
    body = b'{"instances": [1, 2]}'
    assert msgspec.json.decode(answer(service, request(body, envelope="json"))[0]) == {
        "predictions": ["1", "2"]
    }
    (failure,) = answer(service, request(b"x", envelope="nothing_such"))
    assert isinstance(failure, Failure)
    assert "service_envelope 'nothing_such' is not one of body, json" in str(failure.cause)


def test_an_envelope_that_is_none_fails_the_load(loading: Loading) -> None:
    with pytest.raises(HandlerNotFound, match="'nothing_such' is not one of body"):
        loading({"h.py": CLASS}, "h.py", envelope="nothing_such")


@pytest.mark.parametrize(("decode", "kind"), [(True, "dict"), (False, "bytearray")])
def test_what_is_said_of_input_and_output_holds(loading: Loading, decode: bool, kind: str) -> None:
    source = "def handle(data, context):\n    return data and [type(row['body']).__name__ for row in data]\n"
    service = loading({"h.py": source + "x = 1\n"}, "h.py", decode_input_request=decode)
    from_json = msgspec.structs.replace(request(b"{}").parts[0], content_type="application/json")
    assert answer(service, request(from_json)) == [kind]
    large = "def handle(data, context):\n    return data and ['x' * 1001]\n"
    (failure,) = answer(loading({"large.py": large}, "large"))
    assert "max_response_size is 1000" in failure.cause


NET = "import torch\nprint('imported')\nclass Net(torch.nn.Module):\n    pass\n"
INITIALISES = "    def initialize(self, context):\n        pass\n"
BASED = "from torchkeeper.handler.base import BaseHandler\nclass Own(BaseHandler):\n    pass\n"


@pytest.mark.parametrize(
    ("handler", "source", "net", "there"),
    [
        ("h.py", BASED, NET, True),
        ("image_classifier", "", NET, True),
        ("h.py", "def handle(data, context):\n    return data\n", NET, False),
        ("h.py", BASED + INITIALISES, NET, False),
        ("h.py", "from torchkeeper.handler.vision import VisionHandler\n" + BASED + INITIALISES, NET, False),
        ("h.py", BASED, "raise SystemExit('told where it is loaded')\n", False),
        ("h.py", BASED, "", False),
    ],
    ids=["own", "built-in", "of no base", "initialises itself", "knows others", "that leaves", "missing"],
)
def test_the_file_of_a_models_class_is_imported_ahead_for_those_who_load_it(
    loading: Loading, capsys: pytest.CaptureFixture[str], handler: str, source: str, net: str, there: bool
) -> None:
    (loading.folder / "h.py").write_text(source)
    if net:
        (loading.folder / "net_of_mine.py").write_text(net)
    manifest = {"model": {"modelFile": "net_of_mine.py"}}
    spec = ModelSpec("m", "1.0", str(loading.folder), manifest, handler, None, None, 4, None)
    import_model_file(spec, import_handler(spec))
    assert ("net_of_mine" in sys.modules) is there
    if there:
        model_module(loading.folder / "net_of_mine.py")
        assert capsys.readouterr().out == "imported\n", "and not again where it is loaded"
