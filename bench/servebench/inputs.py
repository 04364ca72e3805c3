"""The 1,000 test pictures, the right answers to them, and the archives that both servers serve.

All lie under the cache folder. One archiver makes the archives: both servers get the same files.
"""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from servebench.errors import BenchError
from servebench.paths import BENCH, CACHE, DIGITS, MNIST, OURS

COUNT = 1000
PIXELS = 28 * 28
#: The workload whose model AOTInductor compiles, and what that model takes.
COMPILED = "mnist-pt2"
INPUT = "x:FP32:-1,1,28,28"


@dataclass(frozen=True)
class Variant:
    """One archive: a workload and what its model-config.yaml says (batch None: no configuration at all)."""

    workload: str
    batch: int | None = None
    delay: int | None = None
    workers: int | None = None
    version: str = "1.0"
    #: Seconds that a batch may take.
    response: int | None = None

    @property
    def name(self) -> str:
        """The archive's file name without its ending."""
        batch = "" if self.batch is None else f"-batch{self.batch}"
        delay = "" if self.delay is None else f"-delay{self.delay}"
        response = "" if self.response is None else f"-response{self.response}"
        version = "" if self.version == "1.0" else f"-{self.version}"
        return f"{self.workload}{batch}{delay}{response}{version}"

    @property
    def config(self) -> str | None:
        """The text of model-config.yaml, or None for an archive that has none."""
        rows = {
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            "batchSize": self.batch,
            "maxBatchDelay": self.delay,
            "responseTimeout": self.response,
        }
        lines = [f"{key}: {value}\n" for key, value in rows.items() if value is not None]
        return "".join(lines) or None


def pictures(folder: Path = CACHE / "pictures", count: int = COUNT) -> Path:
    """Writes so many of the 10,000 test digits as 0000.png, 0001.png …; returns the folder."""
    images = DIGITS / "t10k-images-idx3-ubyte.gz"
    if not images.exists():
        raise BenchError(f"{images} is missing: the benchmark posts the test pictures that are kept there")
    if (folder / f"{count - 1:04d}.png").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(images) as file:
        pixels = file.read(16 + count * PIXELS)[16:]
    for number in range(count):
        one = pixels[number * PIXELS : (number + 1) * PIXELS]
        Image.frombytes("L", (28, 28), one).save(folder / f"{number:04d}.png")
    return folder


def answers(workload: str, images: Path, archive: Path, python: Path) -> Path:
    """The file of right answers, one hexadecimal line per picture: the digit for mnist, else the picture.

    The digits are what the handler of the archive with the eager model answers in process, run by `python`.
    """
    file = CACHE / f"answers-{workload}.txt"
    if workload in ("mnist", COMPILED):
        lines = digits(_eager(archive) if workload == COMPILED else archive, images, python)
    else:
        lines = [path.read_bytes() for path in sorted(images.glob("*.png"))]
    file.write_text("".join(line.hex() + "\n" for line in lines))
    return file


def digits(archive: Path, images: Path, python: Path) -> list[bytes]:
    """What the archive's own handler answers in process, picture by picture."""
    command: list[str | Path] = [python, BENCH / "in_process.py", "--archive", archive]
    return [line.encode() for line in _said([*command, "--pictures", images, "--answers"]).split()]


def build_archive(variant: Variant, archiver: Path, store: Path) -> Path:
    """Makes the variant's archive with the given `torch-model-archiver`, over an older one.

    That of mnist-pt2 is mnist's, with the model compiled for this machine.
    """
    store.mkdir(parents=True, exist_ok=True)
    made = store / f"{variant.name}.mar"
    compiled = variant.workload == COMPILED
    packed = _eager(made) if compiled else made
    command: list[str | Path] = [archiver, "--model-name", packed.stem, "--version", variant.version]
    command += ["--force"]
    command += ["--export-path", store]
    if variant.workload in ("mnist", COMPILED):
        command += ["--model-file", MNIST / "mnist.py", "--serialized-file", MNIST / "mnist_cnn.pt"]
        command += ["--handler", MNIST / "mnist_handler.py"]
    else:
        command += ["--handler", BENCH / "handlers" / f"{variant.workload}.py"]
    if variant.config is not None:
        config = store / f"{variant.name}.yaml"
        config.write_text(variant.config)
        command += ["--config-file", config]
    _said(command)
    if compiled:
        made.unlink(missing_ok=True)
        export = [OURS / "bin" / "torchkeeper", "export", packed, "--to", "pt2", "--compile"]
        _said([*export, "--input", INPUT, "--output", made])
    return made


def _eager(made: Path) -> Path:
    """The archive that a compiled one is made of."""
    return made.with_stem(f"{made.stem}-eager")


def _said(command: Sequence[str | Path]) -> str:
    """What a program prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr + done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise BenchError(f"{Path(command[0]).name} failed: {last[0]}")
    return done.stdout
