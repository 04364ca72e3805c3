"""Workers' processes for tests: frames in, outcomes out, no server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from torchkeeper.wire.execution import AS_IT_IS, Execution
from torchkeeper.wire.frame_reader import FrameReader
from torchkeeper.wire.frames import (
    Intermediate,
    Load,
    Loaded,
    LoadFailed,
    Message,
    Outcome,
    Replies,
    Stop,
    decode_replies,
    encode,
    encode_batch,
)
from torchkeeper.wire.messages import Input, ModelSpec, Sample


def light_environ(folder: Path, **stubs: str) -> dict[str, str]:
    """An environment in which what workers share is not there, so that a template starts in no time."""
    folder.mkdir(exist_ok=True)
    for name in ("torch", "numpy", "PIL"):
        (folder / f"{name}.py").write_text(stubs.get(name, "raise ImportError('left out')\n"))
    return {**os.environ, "PYTHONPATH": str(folder)}


class Worker:
    """A spawned worker with a handler's source; what it prints is in `log`."""

    def __init__(
        self,
        folder: Path,
        source: str,
        *,
        envelope: str | None = None,
        limit: int = 10_000,
        execution: Execution = AS_IT_IS,
        auto_batches: bool = False,
    ) -> None:
        (folder / "h.py").write_text(source)
        self.log = folder / "log"
        self._reader = FrameReader()
        self._frames: list[tuple[Message, bytes]] = []
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        self.crash, crash = os.pipe()
        out: IO[bytes]
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "torchkeeper.worker.main"),
                    *("--channel", str(theirs.fileno()), "--life", str(life), "--crash", str(crash)),
                ],
                pass_fds=(theirs.fileno(), life, crash),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        theirs.close()
        os.close(life)
        os.close(crash)
        ours.settimeout(60)
        self._sock = ours
        spec = ModelSpec(
            "m",
            "1.0",
            str(folder),
            {"model": {}},
            "h.py",
            envelope,
            None,
            8,
            None,
            execution=execution,
            auto_batches=auto_batches,
        )
        self.send(encode(Load(spec, limit)))
        #: What it said of the load.
        self.loaded: Message = self._next()[0]
        assert isinstance(self.loaded, Loaded | LoadFailed)

    def send(self, frame: bytes) -> None:
        """Any bytes."""
        self._sock.sendall(frame)

    def _next(self) -> tuple[Message, bytes]:
        while not self._frames:
            data = self._sock.recv(1 << 18)
            assert data, f"the worker has left:\n{self.log.read_text()}"
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    def ask(self, inputs: Sequence[Input]) -> list[Outcome]:
        """The outcomes of a batch."""
        self.send(encode_batch(1, inputs))
        return self.answer()[0]

    def answer(self) -> tuple[list[Outcome], tuple[Sample, ...], list[list[Outcome]]]:
        """Outcomes, samples and the parts that came before them."""
        parts: list[list[Outcome]] = []
        while True:
            message, raw = self._next()
            if isinstance(message, Replies):
                return decode_replies(message.replies, raw), message.samples, parts
            assert isinstance(message, Intermediate)
            parts.append(decode_replies(message.parts, raw))

    def last_words(self) -> Message:
        """What it says before it ends by itself."""
        return self._next()[0]

    def stop(self) -> int:
        """Ends it in peace; its exit code."""
        self.send(encode(Stop()))
        return self.process.wait(60)

    def close(self) -> None:
        """Ends it anyhow."""
        self.process.kill()
        self.process.wait()
        self._sock.close()
        os.close(self._life)
        os.close(self.crash)
