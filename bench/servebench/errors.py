"""The benchmark's one error: a line that names what is missing or went wrong, and what to do."""


class BenchError(Exception):
    """Ends the benchmark with one line instead of a traceback."""
