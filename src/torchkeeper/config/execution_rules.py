"""What may stand under `execution` in a model-config.yaml. Strict: what is wrong refuses the model. Pure.

TorchServe has no such section, so that leniency would be nobody's habit: a variant that is silently left out
would only be slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from torchkeeper.config.model_rules import Rule, boolean, choice, never, whole
from torchkeeper.wire.advice import nearest
from torchkeeper.wire.execution import Execution

#: The section's name.
SECTION = "execution"
#: More threads than this are a mistake.
_MOST_THREADS = 1024


def _are_inside(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(name, str) and name and _is_inside(PurePosixPath(name)) for name in value)
    )


def _is_inside(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts


#: Modes of torch.compile; `reduce-overhead` and the graphs of `max-autotune` are for GPUs.
_MODES = choice("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def _is_compile(value: object) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, dict)
        and value.keys() <= {"mode", "dynamic"}
        and _MODES.fits(value.get("mode", "default"))
        and (value.get("dynamic") is None or isinstance(value["dynamic"], bool))
    )


def _compile(value: Any) -> dict[str, Any] | None:
    return ({} if value is True else value) if value is not False else None


#: Key of the section to what its value must be.
RULES: Mapping[str, Rule[Any]] = {
    "threads": whole(1, _MOST_THREADS, " of threads"),
    "memoryFormat": choice("channels_last"),
    "dtype": choice("bfloat16", "float16"),
    "quantize": choice("int8-dynamic", "int8-weight-only"),
    "freeze": boolean,
    "aot": boolean,
    "compile": Rule(
        f"true, or a mapping of mode ({_MODES.wanted}) and dynamic (true, false or null)",
        _is_compile,
        never,
        plain=_compile,
    ),
    "hint": choice("latency", "throughput"),
    "warmup": Rule("a list of files of the archive, by their names in it", _are_inside, never, plain=tuple),
}
#: Variants that no model can have together, and why.
_CLASHES = (
    ("freeze", "memoryFormat", "only TorchScript is frozen, and only eager models' layout is changed"),
    ("freeze", "aot", "only TorchScript is frozen, and only eager models are compiled"),
    ("freeze", "compile", "only TorchScript is frozen, and only eager models are compiled"),
    ("aot", "compile", "either the model is exported and compiled ahead, or compiled as it runs"),
    ("freeze", "quantize", "only TorchScript is frozen, and only eager models are quantized"),
    ("freeze", "dtype", "only TorchScript is frozen, and only eager models' dtype is changed"),
)
_FOR_ITS_THREADS = "what torch.compile makes is for one number of threads, which forks would make anew"
KEYS = tuple(RULES)
#: Values by which a key asks for nothing; an empty mapping asks for what holds by itself.
_NOTHING = (None, False)


def why_not(found: object) -> str | None:
    """What is wrong with a section, naming the key; None: nothing."""
    if not isinstance(found, dict):
        return f"{SECTION}: {_shown(found)} must be a mapping of {', '.join(KEYS)}"
    for key, value in found.items():
        name = f"{SECTION}.{key}"
        if key not in KEYS:
            return f"{name} is no key of it{nearest(str(key), KEYS)}; there are {', '.join(KEYS)}"
        if not RULES[key].fits(value):
            return f"{name}: {_shown(value)} must be {RULES[key].wanted}"
    for one, other, why in _CLASHES:
        if found.get(one) not in _NOTHING and found.get(other) not in _NOTHING:
            return f"{SECTION}.{one} and {SECTION}.{other} are not possible together: {why}"
    return None


def clash(config: Mapping[object, Any]) -> str | None:
    """Why a whole model-config.yaml cannot hold with its section `execution`; None: it can."""
    if SECTION in config and config.get("pt2"):
        return f"{SECTION} and pt2 both say how the model is run: keep one of them"
    return None


def _plain(found: dict[str, Any]) -> Execution:
    return msgspec.convert({key: RULES[key].plain(value) for key, value in found.items()}, Execution)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 100 else shown[:100] + "..."


execution = Rule[Execution](
    f"a mapping of {', '.join(KEYS)}",
    lambda value: why_not(value) is None,
    never,
    plain=_plain,
    refuses=why_not,
)


def loads_apart(config: Mapping[str, Any]) -> str:
    """Why no worker can load for others what runs as a whole model-config.yaml says; empty: one can."""
    pt2 = config.get("pt2")
    if pt2 and not (isinstance(pt2, Mapping) and "export" in pt2 and "compile" not in pt2):
        return f"pt2: {_FOR_ITS_THREADS}"
    section = config.get(SECTION)
    if isinstance(section, Mapping) and section.get("compile") not in _NOTHING:
        return f"{SECTION}.compile: {_FOR_ITS_THREADS}"
    return ""
