"""Variants of a model, measured in processes of their own and in turn: what the machine does meets all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any


def in_turn(
    script: str, variants: Iterable[str], rounds: int, *flags: str
) -> dict[str, list[dict[str, Any]]]:
    """What each variant's runs print, as JSON in their last line; by the variants' names.

    Args:
        script: the file of the benchmark, which measures the one that `--variant` names.
        flags: of its command line, besides.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, runs in found.items():
            command = [sys.executable, "-W", "ignore", script, "--variant", name, *flags]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs.append(json.loads(output.splitlines()[-1]))
    return found
