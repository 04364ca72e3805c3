"""What is known of a worker's end, told to clients, to whoever describes the model, and in the log. Pure."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torchkeeper.errors import outward
from torchkeeper.wire.advice import blamed
from torchkeeper.wire.frames import HandlerLeft, Leaving, LoadFailed
from torchkeeper.wire.remedies import OUT_OF_MEMORY, out_of_memory

#: Lines of standard error that are kept, and characters of each.
STDERR_LINES, STDERR_WIDTH = 50, 500
#: Of those, the last ones that may say why memory could not be had.
_TELLING = 10
#: Signals by which a process ends for what it does itself.
_CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)$')
_NATIVE = "Native code failed: look at lastFailure in the description of model {}, and at installed versions."
_LEFT = "The handler, or what it imports, left: look at lastFailure in the description of model {}."


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """The facts of one end.

    Args:
        verdict: why it was ended by the server, if it was.
        fault: what it did wrong on its channel, for which it was ended.
        words: what it said before it ended by itself.
        oom: whether the kernel killed it for want of memory; None: nobody knows.
        crash: what faulthandler wrote.
        in_flight: the ids of the requests that it ran.
        peak_rss: the most memory that it held, in bytes; 0: unknown.
        lived: seconds.
        moment: when it ended, in seconds of the epoch.
    """

    worker: str
    model: str
    model_dir: str
    pid: int | None = None
    returncode: int | None = None
    verdict: str | None = None
    fault: str | None = None
    words: Leaving | None = None
    oom: bool | None = None
    crash: str = ""
    stderr: tuple[str, ...] = ()
    in_flight: tuple[str, ...] = ()
    peak_rss: int = 0
    lived: float = 0.0
    moment: float = 0.0

    @property
    def cause(self) -> str:
        """How it ended, and why as far as that is known, in one sentence."""
        if isinstance(self.words, LoadFailed):
            return f"the model could not be loaded: {self.words.cause}"
        if why := self.verdict or self.fault:
            return why
        how = describe_end(self.returncode, oom=self.oom)
        if isinstance(self.words, HandlerLeft):
            return f"{how}, since the handler left: {self.words.cause}"
        if self.oom is None and (said := self._said_of_memory()):
            return f"{how}, out of memory: {said}"
        return how

    @property
    def no_memory(self) -> bool | None:
        """Whether it ended for want of memory; None: nobody knows."""
        if self.oom is not None:
            return self.oom
        if self.words is not None:
            return out_of_memory(self.words.cause)
        return True if self._said_of_memory() else None

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it, and not the server's."""
        return self.returncode == -signal.SIGKILL and not self._ended_by_server

    @property
    def crashed(self) -> bool:
        """Whether it ended by itself, by what it computed: nobody ended it from outside."""
        return self.fault is not None or (is_crash(self.returncode) and self.verdict is None)

    @property
    def _ended_by_server(self) -> bool:
        return self.verdict is not None or self.fault is not None

    def _said_of_memory(self) -> str:
        if self.words is not None or self._ended_by_server or not self.crashed:
            return ""
        return next((line for line in reversed(self.stderr[-_TELLING:]) if out_of_memory(line)), "")

    @property
    def place(self) -> str:
        """Where in the model's own code it was; else where in any code."""
        if self.words is not None:
            return self.words.place
        frames = list(_frames(self.crash))
        folder = self.model_dir.rstrip("/") + "/"
        own = [frame for frame in frames if frame["file"].startswith(folder)]
        for frame in own if own or self.verdict else frames:  # who is only late may be anywhere
            return f"{frame['file'].removeprefix(folder)}, line {frame['line']}, in {frame['name']}"
        return ""

    @property
    def do(self) -> str:
        """What to do about it, where that is known."""
        if self.words is not None and self.words.do:
            return self.words.do
        if self.no_memory:
            return OUT_OF_MEMORY
        if not self.crashed or self.fault is not None or self.words is not None:
            return ""
        return (_LEFT if (self.returncode or 0) >= 0 else _NATIVE).format(self.model)

    @property
    def outward(self) -> str:
        """For clients: no paths and addresses, nothing of what was printed, no ids of others' requests."""
        by_itself = self.peak_rss and self.words is None and not self._ended_by_server
        peak = f"; it held {_megabytes(self.peak_rss)} at most" if by_itself else ""
        return outward(blamed(self.cause, self.place, "") + peak) + blamed("", "", self.do)

    @property
    def traceback(self) -> str:
        """Of the exception by which it ended, or of where it was when a signal ended it."""
        return self.words.traceback if self.words is not None and self.words.traceback else self.crash

    def same_as(self, other: Dossier | None) -> bool:
        """Whether it tells of the same kind of end at the same place."""
        return other is not None and (self.cause, self.place) == (other.cause, other.place)

    def described(self, times: int) -> dict[str, Any]:
        """For the description of the model; `times` it came so, one after the other."""
        signaled = self.returncode is not None and self.returncode < 0
        facts: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.moment)),
            "times": times,
            "worker": self.worker,
            "pid": self.pid,
            "cause": self.cause,
            "place": self.place or None,
            "do": self.do or None,
            "exitCode": None if signaled else self.returncode,
            "signal": _signal(self.returncode) if signaled else None,
            "outOfMemory": self.no_memory,
            "peakRss": self.peak_rss or None,
            "livedSeconds": round(self.lived, 3),
            "requests": list(self.in_flight),
            "traceback": self.traceback.splitlines(),
            "stderr": list(self.stderr),
        }
        return {name: fact for name, fact in facts.items() if fact is not None}

    def record(self) -> str:
        """For the log: the facts, line by line."""
        age = f"process {self.pid} lived {self.lived:.1f} s"
        peak = f" and held {_megabytes(self.peak_rss)} at most" if self.peak_rss else ""
        lines = [f"{self.worker} has ended: {self.cause}", f"  {age}{peak}"]
        lines += [f"  {name}: {fact}" for name, fact in (("at", self.place), ("do", self.do)) if fact]
        lines.append(f"  requests in hand: {', '.join(self.in_flight) or 'none'}")
        for title, text in (
            ("traceback", self.traceback.splitlines()),
            ("last lines of stderr", self.stderr),
        ):
            if text:
                lines += [f"  {title}:", *(f"    {line}" for line in text)]
        return "\n".join(lines)


def _frames(crash: str) -> Iterator[re.Match[str]]:
    """The frames of the thread that a signal ended, the innermost first."""
    inside = False
    for line in crash.splitlines():
        if line.startswith(("Current thread", "Stack (most recent call first)")):
            inside = True
        elif inside and (frame := _FRAME.match(line)):
            yield frame
        elif inside:
            return


def is_crash(returncode: int | None) -> bool:
    """Whether a process with requests in hand ended by itself: it left, or did what the kernel forbids."""
    return returncode is not None and (returncode >= 0 or -returncode in _CRASHES)


def describe_end(returncode: int | None, *, oom: bool | None = None) -> str:
    """How a process ended, in words: its exit code or the signal that killed it.

    `oom` is whether the kernel killed it for want of memory; None: nobody knows.
    """
    if returncode is None:
        return "the worker process ended"
    if returncode >= 0:
        return f"the worker process left with exit code {returncode}"
    said = f"the worker process was killed by {_signal(returncode)}"
    if returncode != -signal.SIGKILL:
        return said
    if oom is None:
        return f"{said}, from outside or by the kernel's out-of-memory killer"
    return f"{said}, out of memory: the kernel has counted it" if oom else f"{said}, from outside"


def _signal(returncode: int | None) -> str:
    number = -(returncode or 0)
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
