"""What of the logs was lost, and what is said of it: all of it is counted, little is said.

Pure: the clock's reading is handed in. The log thread is its only writer.
"""

from __future__ import annotations

from collections import Counter

#: Seconds between two beginnings of a trouble with disks that are told of; one that comes and goes is one.
QUIET = 60.0


class Losses:
    """Lines that were lost since the server started."""

    def __init__(self) -> None:
        #: By where they were lost: waiting for the log thread, on the way to a file, on the way to stdout.
        self.counts = {"queue": 0, "disk": 0, "stdout": 0}
        #: Lines lost since all files took them, by file, and how many of those that are whole again.
        self._failing: Counter[str] = Counter()
        self._mended = 0
        self._told = False
        self._quiet_until = 0.0
        self._console = 0

    def files(self, path: str, lines: int, why: str, now: float) -> str | None:
        """A file was written to and did not take so many lines; a sentence, if it is time for one."""
        if lines:
            self.counts["disk"] += lines
            self._failing[path] += lines
            if self._told or now < self._quiet_until:
                return None
            self._told, self._quiet_until = True, now + QUIET
            counted = "they are lost, and counted in torchkeeper_log_lines_lost"
            return f"log lines cannot be written to {path}: {why}; {counted}"
        if path not in self._failing:
            return None
        self._mended += self._failing.pop(path)
        if self._failing or not self._told:
            return None
        lost, self._mended, self._told = self._mended, 0, False
        return f"log lines can be written again; {lost} were lost"

    def stdout(self, lines: int, why: str) -> str | None:
        """So many lines in all did not come to stdout; a sentence about the first of them."""
        first = not self._console and lines
        self.counts["stdout"] += lines - self._console
        self._console = lines
        return f"log lines cannot be written to stdout: {why}; they are counted" if first else None
