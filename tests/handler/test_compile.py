"""What `pt2` in model-config.yaml asks for, and that a failing compiler does not stop a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torchkeeper.handler.compile import compile_options, compiled


@pytest.mark.parametrize(
    ("pt2", "expected"),
    [
        (None, None),
        ("inductor", {"backend": "inductor"}),
        ({"backend": "eager", "mode": "default"}, {"backend": "eager", "mode": "default"}),
        ({"compile": {"enable": True, "backend": "eager"}}, {"backend": "eager"}),
        ({"compile": {"enable": True}}, {}),
        ({"compile": {"enable": False, "backend": "eager"}}, None),
        ({"compile": None}, None),
        ({"export": {"aot_compile": True}}, None),
    ],
)
def test_options(pt2: Any, expected: Any) -> None:
    config = {"pt2": pt2}
    assert compile_options(config) == expected
    assert config == {"pt2": pt2}


def test_another_form_is_named() -> None:
    with pytest.raises(ValueError, match=r"pt2 in model-config\.yaml must be text or a mapping, not 5"):
        compile_options({"pt2": 5})


@pytest.mark.parametrize(
    ("pt2", "text"),
    [
        ("tvm", "tvm is not a supported backend"),
        (
            {"compile": {"enable": True, "no_such_option": 1}},
            "with no_such_option 1 has failed, it runs uncompiled",
        ),
    ],
)
def test_a_model_that_cannot_be_compiled_stays_as_it_is(
    pt2: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Identity()
    assert compiled(model, {"pt2": pt2}) is model
    assert text in caplog.text
