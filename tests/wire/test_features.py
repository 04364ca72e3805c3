"""The table of what is not here: who asks for it, and who does not."""

from __future__ import annotations

from typing import Any

import pytest

from torchkeeper.config.model_config import KNOWN
from torchkeeper.handler.builtin import BUILTIN
from torchkeeper.wire import features


@pytest.mark.parametrize(
    ("config", "asking"),
    [
        *(({key: True, "batchSize": 4}, [key]) for key in features.KEYS),
        *(({key: value}, []) for key in features.KEYS for value in (False, None, "true", 1)),
        *(
            ({"parallelType": kind, "parallelLevel": 2}, ["parallelType"])
            for kind in ("pp", "tp", "pptp", "PP")
        ),
        ({"parallelType": "tp", "torchrun": {"nproc-per-node": 2}}, ["parallelType"]),
        ({"parallelType": "", "parallelLevel": 2}, []),
        ({"parallelType": "none of them", "parallelLevel": 2}, []),
        ({"parallelLevel": 2}, []),
        ({"parallelType": "custom", "parallelLevel": 1}, []),
        ({"parallelType": "custom"}, []),
        ({"parallelType": "custom", "parallelLevel": "4", "torchrun": [3]}, []),
        ({"parallelType": "custom", "parallelLevel": 4}, ["parallelType"]),
        ({"parallelType": "custom", "torchrun": {"nproc-per-node": 4}}, ["parallelType"]),
        ({"maxNumSequence": 4, "sequenceMaxIdleMSec": 10}, []),
        ({"continuousBatching": True, "sequenceBatching": True}, ["sequenceBatching", "continuousBatching"]),
        ({}, []),
    ],
)
def test_what_a_file_asks_for(config: dict[str, Any], asking: list[str]) -> None:
    assert [one.key for one in features.missing_in_config(config)] == asking


def test_a_sentence_names_who_asks_what_is_not_here_and_what_to_do() -> None:
    (later,) = features.missing_in_config({"sequenceBatching": True})
    assert later.sentence == (
        "sequenceBatching in model-config.yaml asks for sequence batching, which torchkeeper does not have "
        "yet; keep the state of a sequence outside the model"
    )
    (valued,) = features.missing_in_config({"parallelType": "tp"})
    assert valued.sentence.startswith("parallelType: tp in model-config.yaml asks for models over several ")
    never = features.missing_runtime("LSP")
    assert never is not None
    assert never.sentence.startswith(
        "runtime LSP asks for the C++ back end, which torchkeeper does not have and "
    )
    handler = features.missing_handler("trt_llm_handler")
    assert handler is not None
    assert handler.sentence.startswith("handler trt_llm_handler asks for TensorRT-LLM's engine, which ")


@pytest.mark.parametrize("runtime", ["python", "python2", "python3", "Python", "perl"])
def test_other_runtimes_ask_for_nothing(runtime: str) -> None:
    assert features.missing_runtime(runtime) is None


def test_no_row_is_left_of_what_is_here() -> None:
    assert not features.HANDLERS.keys() & BUILTIN.keys()
    assert not {*features.KEYS, *features.BELONGING, "parallelType"} & set(KNOWN)
