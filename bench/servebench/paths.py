"""Where the benchmark finds and keeps its files; nothing else may build these paths."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
RESULTS = BENCH / "results"
#: Test pictures, archives and in-process answers; made on the first run.
CACHE = ROOT / ".cache" / "bench"
OURS = ROOT / ".venv"
THEIRS = ROOT / ".venv-bench"
MNIST = ROOT / "examples" / "image_classifier" / "mnist"
TESTS = ROOT / "tests"
DIGITS = TESTS / "data" / "mnist"
