"""Which signals ask a process to end."""

from __future__ import annotations

import signal


def end_signals() -> tuple[signal.Signals, ...]:
    """Those that ask for an orderly end: SIGTERM, SIGINT, and a hangup where it is not ignored (`nohup`)."""
    asked = (signal.SIGTERM, signal.SIGINT)
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*asked, signal.SIGHUP)
