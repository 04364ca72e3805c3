"""TorchServe's examples that compile models, and those that want what will not come, in real workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from archives import HANDLERS, archived
from drawn import at_once, imagenet, png
from networks import LABELS, Models

from exports import library, needs_compiler
from servers import Server

#: Model -> what its model-config.yaml says, in the forms of the examples.
CONFIGS = {
    "compiled": "pt2:\n  compile:\n    enable: True\n",
    "old_form": "pt2 : {backend: inductor, mode: reduce-overhead}\n",
    "openvino": "minWorkers: 1\nmaxWorkers: 2\npt2:\n  compile:\n    enable: True\n    backend: openvino\n",
}
CACHED = """
minWorkers: 1
maxWorkers: 2
responseTimeout: 600
pt2:
  compile:
    enable: True
    backend: inductor
handler:
  torch_inductor_caching:
    torch_inductor_fx_graph_cache: true
    torch_inductor_cache_dir: {}
"""
AHEAD = "pt2 :\n  export:\n    aot_compile: true\n"
DALI = 'deviceType: "gpu"\ndali:\n    batch_size: 5\n    num_threads: 2\n    device_id: 0\n    seed: 12\n'
#: config.properties as the Intel extension's example has it.
SETTINGS = {
    "default_workers_per_model": 1,
    "default_response_timeout": 600,
    "ipex_enable": "true",
    "cpu_launcher_enable": "true",
    "cpu_launcher_args": "--use_logical_core --disable_numactl",
}

pytestmark = pytest.mark.slow


def ahead_of_time(models: Models, folder: Path) -> Path:
    """A library of the alexnet example for batches from 2 to 32."""
    sizes = {"x": {0: torch.export.Dim("batch", min=2, max=32)}}
    example = torch.randn(2, 3, 224, 224)
    program = torch.export.export(models.known["alexnet"], (example,), dynamic_shapes=sizes)
    return library(program, example, folder / "alexnet_pt2.so")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Models]]:
    needs_compiler()
    folder = tmp_path_factory.mktemp("compiled_models")
    store = folder / "model_store"
    store.mkdir()
    models = Models(folder)
    (folder / "index_to_name.json").write_text(json.dumps(LABELS))
    index = folder / "index_to_name.json"
    files = ("--model-file", HANDLERS / "alexnet_model.py", "--serialized-file", folder / "alexnet.pth")
    extra = (index, HANDLERS / "small_networks.py")
    for name, config in CONFIGS.items():
        archived(store, name, "image_classifier", *files, extra=extra, config=config)
    config = CACHED.format(folder / "cache")
    archived(store, "cached", "inductor_cache_handler.py", *files, extra=extra, config=config)
    whole = ("--serialized-file", ahead_of_time(models, folder))
    archived(store, "ahead", "image_classifier", *whole, extra=(index,), config=AHEAD)
    archived(store, "dali", "dali_image_classifier", *files, extra=extra, config=DALI)
    archived(store, "dali_digits", "dali_digits_handler.py", *files, extra=extra, config=DALI)
    names = (*CONFIGS, "cached", "ahead")
    flags = ("--disable-token-auth", "--enable-model-api")
    server = Server(folder, tuple(f"{name}={name}.mar" for name in names), SETTINGS, flags)
    server.client.timeout = server.manage.timeout = 600
    yield server, models
    server.stop()


@pytest.mark.parametrize("name", ["compiled", "old_form"])
def test_torch_compile(served: tuple[Server, Models], name: str) -> None:
    """pt2/torch_compile, squeezenet: torch.compile by model-config.yaml, in the new form and the old one."""
    server, models = served
    for seed in (1, 2):
        answer = server.client.put(f"/predictions/{name}", content=png(seed))
        assert (answer.status_code, answer.json()) == (200, models.says("alexnet", imagenet(png(seed))))
    options = "backend inductor, mode reduce-overhead" if name == "old_form" else ""
    server.wait_for(rf"W-\d+-{name}_1.0-std\w+ MODEL_LOG - .*Compiled model with {options}\n")


def test_a_backend_that_is_not_here(served: tuple[Server, Models]) -> None:
    """pt2/torch_compile_openvino, where OpenVINO is not installed: the model runs, and the log says how."""
    server, models = served
    answer = server.client.put("/predictions/openvino", content=png(3))
    assert answer.json() == models.says("alexnet", imagenet(png(3)))
    server.wait_for(
        r"W-\d+-openvino_1.0-std\w+ MODEL_LOG - .*backend openvino has failed, it runs uncompiled"
    )


def test_a_cache_of_compiled_graphs(served: tuple[Server, Models]) -> None:
    """pt2/torch_inductor_caching: a second worker finds what the first one has compiled."""
    server, models = served
    answer = server.client.put("/predictions/cached", content=png(4))
    assert answer.json() == models.says("alexnet", imagenet(png(4)))
    server.wait_for("graphs in the cache 0, compiled 1")
    assert any((server.folder / "cache").rglob("*.py"))
    for workers in (0, 1):
        scaled = server.manage.put(
            "/models/cached",
            params={"min_worker": str(workers), "max_worker": str(workers), "synchronous": "true"},
        )
        assert scaled.status_code == 200
    answer = server.client.put("/predictions/cached", content=png(5))
    assert answer.json() == models.says("alexnet", imagenet(png(5)))
    server.wait_for("graphs in the cache 1, compiled 0")


def test_a_library_that_was_compiled_ahead_of_time(served: tuple[Server, Models]) -> None:
    """pt2/torch_export_aot_compile: a .so for batches of 2 to 32 is asked with one picture, as there."""
    server, models = served
    pictures = [png(seed) for seed in (6, 7, 8)]
    for picture in pictures:
        answer = server.client.put("/predictions/ahead", content=picture)
        assert (answer.status_code, answer.json()) == (200, models.says("alexnet", imagenet(picture)))
    answers = at_once(server, "/predictions/ahead", pictures)
    assert [one.json() for one in answers] == [models.says("alexnet", imagenet(one)) for one in pictures]


@pytest.mark.parametrize(
    ("name", "who", "status"),
    [("dali", "handler dali_image_classifier", 400), ("dali_digits", "ts.torch_handler.dali_handler", 500)],
)
def test_dali_is_refused(served: tuple[Server, Models], name: str, who: str, status: int) -> None:
    """nvidia_dali: the archive is made; its registration says that it will not come, and what to use."""
    server, _ = served
    asked = {"url": f"{name}.mar", "initial_workers": "1", "synchronous": "true"}
    refused = server.manage.post("/models", params=asked)
    assert refused.status_code == status
    assert f"{who} asks for DALI's pipelines, which torchkeeper does not have and will not" in refused.text
    assert "image_classifier decodes and scales pictures itself" in refused.text
    assert server.manage.get(f"/models/{name}").status_code == 404


def test_settings_of_the_intel_extension_are_wishes(served: tuple[Server, Models]) -> None:
    """intel_extension_for_pytorch: its config.properties starts a server, which says what becomes of it."""
    server, _ = served
    server.wait_for(r"ipex_enable: models without .*; of its arguments --use_logical_core, --disable_numactl")
