"""How a model is to be run, as its model-config.yaml says under `execution` and as its worker is told. Pure.

`config.execution_rules` makes it of what a file says, `handler.execution` applies it.
"""

from __future__ import annotations

import msgspec


class Execution(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Variants of execution; the fields' names in files are `threads`, `memoryFormat` and so on."""

    #: Threads of torch's operators in each worker; None: cores by workers.
    threads: int | None = None
    #: "channels_last", or "" for the model's own.
    memory_format: str = ""
    #: "bfloat16" or "float16"; "" for the model's own.
    dtype: str = ""


#: A model that runs as its handler made it.
AS_IT_IS = Execution()
