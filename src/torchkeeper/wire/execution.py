"""How a model is to be run, as its model-config.yaml says under `execution` and as its worker is told. Pure.

`config.execution_rules` makes it of what a file says, `handler.execution` applies it.
"""

from __future__ import annotations

import msgspec


class Compile(msgspec.Struct, frozen=True, rename="camel"):
    """How torch.compile is called; the names are its own."""

    mode: str = "default"
    #: Whether sizes stay open; None: torch finds out which.
    dynamic: bool | None = None


class Execution(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Variants of execution; the fields' names in files are `threads`, `memoryFormat` and so on."""

    #: Threads of torch's operators in each worker; None: cores by workers.
    threads: int | None = None
    #: "channels_last", or "" for the model's own.
    memory_format: str = ""
    #: "bfloat16" or "float16"; "" for the model's own.
    dtype: str = ""
    #: "int8-dynamic" or "int8-weight-only": how linear layers are quantized; "" for not at all.
    quantize: str = ""
    #: Whether TorchScript is frozen.
    freeze: bool = False
    #: Whether it is compiled ahead of time, from a sample.
    aot: bool = False
    #: How it is compiled by torch.compile while it warms up; None: it is not.
    compile: Compile | None = None
    #: "latency" or "throughput": what the number of workers is chosen for; "" for neither.
    hint: str = ""
    #: Files of the archive with which a worker warms up; none: those of its folder `warmup`.
    warmup: tuple[str, ...] = ()

    @property
    def applies(self) -> bool:
        """Whether a worker has something to apply to the model, or to itself."""
        return msgspec.structs.replace(self, hint="", warmup=()) != AS_IT_IS


#: A model that runs as its handler made it.
AS_IT_IS = Execution()
