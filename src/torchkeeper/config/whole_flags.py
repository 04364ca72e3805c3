"""Flags of our own beside TorchServe's, whose abbreviations go on meaning what they mean there. Pure."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from torchkeeper.config.model_rules import SANDBOXES

#: The flags that `add_own_flags` adds.
OWN_FLAGS = ("--log-level", "--kserve", "--insecure", "--sandbox", "--model-config", "--ready-fd")


class TorchServeParser(argparse.ArgumentParser):
    """A parser of TorchServe's flags and of some more, which stand back where an abbreviation fits both."""

    def __init__(self, *args: Any, more: Sequence[str], **kwargs: Any) -> None:
        """`more` are the flags that TorchServe does not have."""
        super().__init__(*args, **kwargs)
        self._more = frozenset(more)

    def parse_known_args(  # type: ignore[override]  # its overloads say no more than this
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """The namespace and what is left, as argparse has them."""
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._whole(word) for word in given], namespace)

    def _whole(self, word: str) -> str:
        flag, equals, value = word.partition("=")
        known = {name for action in self._actions for name in action.option_strings}
        if not flag.startswith("--") or flag == "--" or flag in known:
            return word
        meant = [name for name in known - self._more if name.startswith(flag)]
        return f"{meant[0]}{equals}{value}" if len(meant) == 1 else word


def add_own_flags(parser: argparse.ArgumentParser) -> None:
    """Those that TorchServe does not have."""
    parser.add_argument(
        "--log-level",
        type=str.lower,
        choices=("debug", "info", "warn", "error"),
        help="Least level of the server's own log lines",
    )
    parser.add_argument("--sandbox", choices=SANDBOXES, help="What workers may do (docs/sandbox.md)")
    parser.add_argument(
        "--model-config",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="Files whose keys take the place of those of a model's own model-config.yaml",
    )
    parser.add_argument(
        "--kserve",
        action="store_true",
        help="Listen on KServe's ports, 8080 and 8081 for gRPC, too (on by itself in KServe's pods)",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="Serve without tokens to more than this machine (containers do by themselves)",
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
