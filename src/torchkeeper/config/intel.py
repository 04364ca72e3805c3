"""TorchServe's settings for Intel's extension and its launcher, taken as wishes that torch can fulfil. Pure.

Source: TorchServe's `ipex_enable`, `cpu_launcher_enable` and `cpu_launcher_args`, which are arguments of
`torch.backends.xeon.run_cpu`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torchkeeper.wire.execution import AS_IT_IS, Execution

#: How models run that do not say it themselves, where the extension is wished for.
_FASTER = Execution(memory_format="channels_last", dtype="bfloat16")


def wished_execution(ipex_enable: bool) -> Execution:
    """How models are to run that do not say it themselves, as far as they can."""
    return _FASTER if ipex_enable else AS_IT_IS


@dataclass(frozen=True)
class Pinning:
    """How workers are pinned to cores."""

    #: Cores of each worker; None: an equal share.
    each: int | None = None
    #: The NUMA node whose cores they are; None: any.
    node: int | None = None
    #: The launcher's arguments that mean nothing here.
    ignored: tuple[str, ...] = ()


def pinning(enabled: bool, arguments: str | None) -> Pinning | None:
    """What the launcher's arguments ask for; None: workers are not pinned."""
    if not enabled:
        return None
    known: dict[str, int] = {}
    ignored = []
    for name, value in _options((arguments or "").split()):
        key = _NAMES.get(name.replace("-", "_").removeprefix("__"))
        number = int(value) if _NUMBER.fullmatch(value) else -1
        if key is None or number < (1 if key == "each" else 0):
            ignored.append(f"{name} {value}".strip())
        else:
            known[key] = number
    return Pinning(known.get("each"), known.get("node"), tuple(ignored))


#: Python reads no number of thousands of digits.
_NUMBER = re.compile(r"\d{1,100}", re.ASCII)
_NAMES = {"ncores_per_instance": "each", "ncore_per_instance": "each", "node_id": "node"}


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """The options with their values, which stand behind `=` or as the next word."""
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
        yield name, value


def said_of_intel(ipex_enable: bool, pinned: Pinning | None) -> tuple[str, ...]:
    """What becomes of these settings, in a line for the log; nothing where nobody uses them."""
    parts = []
    if ipex_enable:
        parts.append(
            "ipex_enable: models without a section execution run in channels_last and bfloat16, "
            "where they and the processor can"
        )
    if pinned is not None:
        each = "their share of the cores" if pinned.each is None else f"{pinned.each} cores each"
        where = "" if pinned.node is None else f" of NUMA node {pinned.node}"
        left = f"; of its arguments {', '.join(pinned.ignored)} mean nothing here" if pinned.ignored else ""
        parts.append(f"cpu_launcher_enable: workers are pinned to {each}{where}{left}")
    return ("; ".join(parts),) if parts else ()
