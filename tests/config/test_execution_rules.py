"""The section `execution` of a model-config.yaml: what is read of it, and what refuses the model."""

from __future__ import annotations

import pytest

from torchkeeper.config.execution_rules import KEYS
from torchkeeper.config.model_config import parse_model_config
from torchkeeper.config.model_settings import resolve
from torchkeeper.wire.execution import AS_IT_IS, Compile, Execution


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("{}", AS_IT_IS),
        ("{threads: 2}", Execution(threads=2)),
        ("{freeze: true}", Execution(freeze=True)),
        ("{aot: true, dtype: bfloat16}", Execution(aot=True, dtype="bfloat16")),
        ("{compile: true}", Execution(compile=Compile())),
        ("{compile: {}}", Execution(compile=Compile())),
        ("{compile: false, aot: true}", Execution(aot=True)),
        (
            "{compile: {mode: max-autotune, dynamic: false}, dtype: bfloat16}",
            Execution(compile=Compile("max-autotune", dynamic=False), dtype="bfloat16"),
        ),
        (
            "{compile: {dynamic: null}, quantize: int8-dynamic}",
            Execution(compile=Compile(), quantize="int8-dynamic"),
        ),
        ("{freeze: false, dtype: float16}", Execution(dtype="float16")),
        ("{quantize: int8-dynamic}", Execution(quantize="int8-dynamic")),
        ("{hint: latency, warmup: [a/3.png]}", Execution(hint="latency", warmup=("a/3.png",))),
        (
            "{memoryFormat: channels_last, dtype: bfloat16}",
            Execution(memory_format="channels_last", dtype="bfloat16"),
        ),
    ],
)
def test_what_is_wanted(section: str, wanted: Execution) -> None:
    given, complaints = parse_model_config(f"execution: {section}\n", "m.yaml")
    assert not complaints
    assert not given.refused
    assert resolve((given,)).execution == wanted


def test_without_the_section_a_model_runs_as_it_is() -> None:
    assert resolve((parse_model_config("batchSize: 4\n", "m.yaml")[0],)).execution is None


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("", f"execution: None must be a mapping of {', '.join(KEYS)}"),
        ("fast", f"execution: 'fast' must be a mapping of {', '.join(KEYS)}"),
        (
            "{thread: 2}",
            f"execution.thread is no key of it; did you mean threads?; there are {', '.join(KEYS)}",
        ),
        ("{1: 2}", f"execution.1 is no key of it; there are {', '.join(KEYS)}"),
        ("{threads: 0}", "execution.threads: 0 must be a whole number of threads from 1 to 1024"),
        ("{threads: true}", "execution.threads: True must be a whole number of threads from 1 to 1024"),
        ("{memoryFormat: nchw}", "execution.memoryFormat: 'nchw' must be channels_last"),
        *(
            (
                f"{{warmup: {value}}}",
                f"execution.warmup: {shown} must be a list of files of the archive, by their names in it",
            )
            for value, shown in (
                ("3.png", "'3.png'"),
                ("[]", "[]"),
                ("[/a]", "['/a']"),
                ("[../a]", "['../a']"),
            )
        ),
        (
            "{freeze: true, dtype: bfloat16}",
            "execution.freeze and execution.dtype are not possible together: only TorchScript is frozen, "
            "and only eager models' dtype is changed",
        ),
        *(
            (
                f"{{compile: {value}}}",
                f"execution.compile: {shown} must be true, or a mapping of mode (default, reduce-overhead, "
                "max-autotune or max-autotune-no-cudagraphs) and dynamic (true, false or null)",
            )
            for value, shown in (
                ("inductor", "'inductor'"),
                ("1", "1"),
                ("null", "None"),
                ("{mode: fast}", "{'mode': 'fast'}"),
                ("{mode: null}", "{'mode': None}"),
                ("{dynamic: 1}", "{'dynamic': 1}"),
                ("{fullgraph: true}", "{'fullgraph': True}"),
            )
        ),
        (
            "{aot: true, compile: {}}",
            "execution.aot and execution.compile are not possible together: either the model is exported and "
            "compiled ahead, or compiled as it runs",
        ),
        (
            "{freeze: true, compile: true}",
            "execution.freeze and execution.compile are not possible together: only TorchScript is frozen, "
            "and only eager models are compiled",
        ),
        ("{quantize: int4}", "execution.quantize: 'int4' must be int8-dynamic or int8-weight-only"),
        ("{freeze: 1}", "execution.freeze: 1 must be true or false"),
        ("{hint: fast}", "execution.hint: 'fast' must be latency or throughput"),
        ("{dtype: [bfloat16]}", "execution.dtype: ['bfloat16'] must be bfloat16 or float16"),
    ],
)
def test_what_is_wrong_refuses_the_model_and_names_the_key(section: str, why: str) -> None:
    given, complaints = parse_model_config(f"execution: {section}\nbatchSize: 4\n", "m.yaml")
    assert resolve((given,)).refused == (f"m.yaml: {why}",)
    assert given.values() == {"batch_size": 4}
    assert not complaints


def test_pt2_beside_it_is_refused() -> None:
    given, _ = parse_model_config("execution: {threads: 2}\npt2: {compile: {enable: true}}\n", "m.yaml")
    assert given.refused == ("m.yaml: execution and pt2 both say how the model is run: keep one of them",)
    assert not parse_model_config("execution: {threads: 2}\npt2:\n", "m.yaml")[0].refused
    assert not parse_model_config("pt2: inductor\n", "m.yaml")[0].refused
