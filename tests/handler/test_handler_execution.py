"""Variants of execution on real handlers: applied after initialize, the same explanations, and refusals."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from torchkeeper.handler.context import Context
from torchkeeper.handler.door import NotRunnable
from torchkeeper.handler.execution import VARIANTS, _check_dtype, apply, model_is, wish
from torchkeeper.machine.hardware import processor_features
from torchkeeper.testing import run_handler
from torchkeeper.wire.execution import Execution
from torchkeeper.wire.messages import Kind, Reply

MODEL = {"modelFile": "net.py", "serializedFile": "net.pth"}
#: What this machine's processor computes with; float32's own layout where it has nothing smaller.
_FEATURES = processor_features() or frozenset()
SMALL = Execution(dtype="bfloat16") if _FEATURES & {"avx512_bf16", "amx_bf16", "bf16"} else Execution()


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def context() -> Context:
    return Context("m", "/", {}, 1, None, "0.12.0")


class Handler:
    def __init__(self, model: Any) -> None:
        self.model = model


def replies(outcomes: Any) -> list[Any]:
    assert all(isinstance(one, Reply) for one in outcomes), outcomes
    return [json.loads(one.body) for one in outcomes]


@pytest.mark.parametrize(
    "execution",
    [
        Execution(memory_format="channels_last"),
        SMALL,
        Execution(threads=1, memory_format="channels_last", dtype=SMALL.dtype),
    ],
)
def test_answers_agree_and_explanations_are_the_same_numbers(
    model_dir: Path, png: Callable[[int], bytes], execution: Execution
) -> None:
    pictures = [png(seed) for seed in range(3)]

    def ask(kind: Kind, **spec: Any) -> list[Any]:
        return replies(run_handler(model_dir / "handler.py", pictures, kind=kind, model=MODEL, **spec))

    for plain, here in zip(ask(Kind.PREDICT), ask(Kind.PREDICT, execution=execution), strict=True):
        assert list(plain) == list(here)
        assert list(here.values()) == pytest.approx(list(plain.values()), rel=0.05)
    assert ask(Kind.EXPLAIN) == ask(Kind.EXPLAIN, execution=execution)


#: Keeps its model at a place of its own, and uses it in a function.
ELSEWHERE = """
import torch
from net import Net
from torchkeeper.handler.execution import model_is

kept = {}

def handle(data, context):
    if data is None:
        kept["net"] = Net().eval()
        %s
        return None
    with torch.inference_mode():
        kept["net"](torch.zeros(1, 1, 8, 8))
    return ["forward" in vars(kept["net"])] * len(data)
"""


def test_a_handler_says_which_model_it_is(model_dir: Path) -> None:
    wanted = Execution(memory_format="channels_last")
    (model_dir / "own.py").write_text(ELSEWHERE % 'model_is(context, kept["net"])')
    assert replies(run_handler(model_dir / "own.py", [b"x"], execution=wanted)) == [True]
    (model_dir / "own.py").write_text(ELSEWHERE % "pass")
    with pytest.raises(
        NotRunnable, match=r"memoryFormat: the handler keeps no model at self.model; .*model_is"
    ):
        run_handler(model_dir / "own.py", [b"x"], execution=wanted)


def test_several_models_are_named_one_by_one() -> None:
    told, models = context(), [torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(1, 2, 3)]
    for model in models:
        model_is(told, model)
    said = apply(Execution(memory_format="channels_last"), None, told).said
    assert said == {"memoryFormat": "channels_last"}
    assert all("forward" in vars(model) for model in models)


def test_threads_hold_from_then_on_whatever_the_handler_did() -> None:
    torch.set_num_threads(1)
    assert apply(Execution(threads=2), None, context()).said == {"threads": 2}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("wanted", "model", "why"),
    [
        (
            Execution(memory_format="channels_last"),
            torch.nn.Linear(2, 2),
            "execution.memoryFormat: channels_last is not possible: the model has no weights of convolutions",
        ),
        (
            Execution(dtype="bfloat16"),
            torch.nn.Linear(2, 2).to(torch.float16),
            "execution.dtype: bfloat16 is not possible: the model has no weights of float32",
        ),
        (
            Execution(dtype="bfloat16"),
            object(),
            "execution.dtype is not possible: the model is a object, and no torch.nn.Module",
        ),
        (
            Execution(dtype="bfloat16"),
            None,
            "execution.dtype: the handler keeps no model at self.model",
        ),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_the_reason(wanted: Execution, model: Any, why: str) -> None:
    with pytest.raises(NotRunnable, match=why):
        apply(wanted, Handler(model), context())


@pytest.mark.parametrize(
    ("dtype", "features", "possible"),
    [
        ("bfloat16", frozenset({"avx2", "avx512f"}), False),
        ("bfloat16", frozenset({"avx512_bf16"}), True),
        ("float16", frozenset({"avx512_bf16"}), False),
        ("float16", frozenset({"fphp"}), True),
        ("float16", None, True),
    ],
)
def test_a_processor_without_instructions_is_no_place_for_a_dtype(
    dtype: str, features: frozenset[str] | None, possible: bool
) -> None:
    model = torch.nn.Linear(2, 2)
    if possible:
        _check_dtype(dtype, model, features)
        return
    with pytest.raises(NotRunnable, match="this processor has no instructions for it"):
        _check_dtype(dtype, model, features)


def test_every_key_of_the_schema_has_its_row() -> None:
    others = {"hint", "warmup"}
    assert {attribute for _, attribute, _ in VARIANTS} | others == set(Execution.__struct_fields__)
    assert {key for key, _, _ in VARIANTS} | others == set(Execution.__struct_encode_fields__)


def test_torchscript_of_an_archive_is_frozen(model_dir: Path, png: Callable[[int], bytes]) -> None:
    def ask(kind: Kind, **spec: Any) -> list[Any]:
        script = {"serializedFile": "script.pt"}
        pictures = [png(seed) for seed in range(3)]
        return replies(run_handler(model_dir / "handler.py", pictures, kind=kind, model=script, **spec))

    frozen = Execution(freeze=True)
    for plain, here in zip(ask(Kind.PREDICT), ask(Kind.PREDICT, execution=frozen), strict=True):
        assert here == pytest.approx(plain, rel=1e-4)
    assert ask(Kind.EXPLAIN) == ask(Kind.EXPLAIN, execution=frozen)


def test_of_a_wish_a_model_does_what_it_can_and_the_rest_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wanted = Execution(memory_format="channels_last", dtype=SMALL.dtype)
    rows = torch.nn.Linear(2, 2).eval()
    with caplog.at_level(logging.INFO):
        said = wish(wanted, Handler(rows), context())
    assert said == ({"dtype": SMALL.dtype} if SMALL.dtype else {})
    (line,) = [one.message for one in caplog.records]
    assert line.endswith(
        "this one stays as it is: not memoryFormat: the model has no weights of convolutions over pictures, "
        "which alone gain by it"
    )
    pictures = torch.nn.Conv2d(1, 1, 3).eval()
    assert wish(Execution(memory_format="channels_last"), Handler(pictures), context()) == {
        "memoryFormat": "channels_last"
    }


@pytest.mark.parametrize("handler", [None, Handler(None), Handler("no module"), Handler(torch.nn.ReLU())])
def test_a_wish_fails_no_load(handler: Any) -> None:
    assert wish(Execution(memory_format="channels_last", dtype="bfloat16"), handler, context()) == {}


def test_a_wish_leaves_torchscript_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    scripted = torch.jit.script(torch.nn.Conv2d(1, 1, 3).eval())
    with caplog.at_level(logging.INFO):
        assert wish(Execution(memory_format="channels_last"), Handler(scripted), context()) == {}
    assert "the model is TorchScript, whose code may name dtypes and layouts of its own" in caplog.text
