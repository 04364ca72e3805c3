"""The benchmark is no installed package: its folder is put on the path for its tests alone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
