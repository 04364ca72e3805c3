"""The front door of the commands that start servers, and of `python -m torchkeeper`.

A server has its mark among its process's arguments, by which SageMaker's toolkits find it. In the foreground
the command's own process is the server, so it begins anew with the mark before anything heavy is imported.
"""

from __future__ import annotations

import os
import signal
import sys

from torchkeeper import MMS_NAMESPACE, TS_NAMESPACE
from torchkeeper.machine.signals import end_signals


def torchserve() -> int:
    """The `torchserve` command; returns its exit code."""
    _mark(TS_NAMESPACE)
    from torchkeeper import cli

    return cli.torchserve()


def multi_model_server() -> int:
    """The `multi-model-server` command; returns its exit code."""
    _mark(MMS_NAMESPACE)
    from torchkeeper import cli

    return cli.multi_model_server()


def torchkeeper() -> int:
    """The `torchkeeper` command; returns its exit code."""
    from torchkeeper import cli

    return cli.torchkeeper()


def _mark(mark: str) -> None:
    """Begins a server in the foreground anew with its mark, if it has none; signals wait meanwhile."""
    starts = "--foreground" in sys.argv and "--stop" not in sys.argv
    if not starts or mark in sys.orig_argv or not sys.executable:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, end_signals())
    os.execv(sys.executable, [sys.executable, "-X", mark, *sys.orig_argv[1:]])


if __name__ == "__main__":
    sys.exit(torchkeeper())
