"""What of the logs was lost, and what is said of it: all of it is counted, little is said.

Pure: the clock's reading is handed in. The log thread is its only writer.
"""

from __future__ import annotations

#: Seconds between two beginnings of a trouble with disks that are told of; one that comes and goes is one.
QUIET = 60.0


class Losses:
    """Lines that were lost since the server started."""

    def __init__(self) -> None:
        #: By where they were lost: waiting for the log thread, on the way to a file, on the way to stdout.
        self.counts = {"queue": 0, "disk": 0, "stdout": 0}
        #: Files that did not take their last lines, and the lines lost that no sentence has counted yet.
        self._failing: set[str] = set()
        self._untold = 0
        self._told = False
        #: Files that had not mended when a sentence said that another one had.
        self._awaited: set[str] = set()
        self._quiet_until = 0.0
        self._console = 0

    def files(self, path: str, lines: int, why: str, now: float) -> str | None:
        """A file was written to and did not take so many lines; a sentence, if it is time for one."""
        if lines:
            self.counts["disk"] += lines
            self._untold += lines
            self._failing.add(path)
            if self._told or now < self._quiet_until:
                return None
            self._told, self._quiet_until = True, now + QUIET
            counted = "they are lost, and counted in torchkeeper_log_lines_lost"
            return f"log lines cannot be written to {path}: {why}; {counted}"
        if path not in self._failing:
            return None
        self._failing.discard(path)
        if not self._told and path not in self._awaited:
            return None
        lost, self._untold = self._untold, 0
        if not self._told:
            self._awaited.discard(path)
            return f"log lines can be written again to {path}" + (f"; {lost} were lost" if lost else "")
        # Not only when all have mended: some are written to seldom.
        self._told, self._awaited = False, set(self._failing)
        others = f"; not yet to {', '.join(sorted(self._failing))}" if self._failing else ""
        return f"log lines can be written again; {lost} were lost{others}"

    def stdout(self, lines: int, why: str) -> str | None:
        """So many lines in all did not come to stdout; a sentence about the first of them."""
        first = not self._console and lines
        self.counts["stdout"] += lines - self._console
        self._console = lines
        return f"log lines cannot be written to stdout: {why}; they are counted" if first else None
