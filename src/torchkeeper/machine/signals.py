"""Which signals ask a process to end, and which one where it is."""

from __future__ import annotations

import signal

#: Asks a worker to write down where it is; no library uses it.
WHERE = signal.SIGRTMIN + 11 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2


def end_signals() -> tuple[signal.Signals, ...]:
    """Those that ask for an orderly end: SIGTERM, SIGINT, and a hangup where it is not ignored (`nohup`)."""
    asked = (signal.SIGTERM, signal.SIGINT)
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*asked, signal.SIGHUP)
