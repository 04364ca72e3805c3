"""The 1,000 test pictures, the right answers to them, and the archives that both servers serve.

All lie under the cache folder. One archiver makes the archives: both servers get the same files.
"""

from __future__ import annotations

import gzip
import subprocess
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from servebench.errors import BenchError
from servebench.paths import BENCH, CACHE, DIGITS, MNIST

COUNT = 1000
PIXELS = 28 * 28


@dataclass(frozen=True)
class Variant:
    """One archive: a workload and what its model-config.yaml says (batch None: no configuration at all)."""

    workload: str
    batch: int | None = None
    delay: int | None = None
    workers: int | None = None

    @property
    def name(self) -> str:
        """The archive's file name without its ending."""
        batch = "" if self.batch is None else f"-batch{self.batch}"
        return f"{self.workload}{batch}" + ("" if self.delay is None else f"-delay{self.delay}")

    @property
    def config(self) -> str | None:
        """The text of model-config.yaml, or None for an archive that has none."""
        rows = {
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            "batchSize": self.batch,
            "maxBatchDelay": self.delay,
        }
        lines = [f"{key}: {value}\n" for key, value in rows.items() if value is not None]
        return "".join(lines) or None


def pictures(folder: Path = CACHE / "pictures") -> Path:
    """Writes the first 1,000 test digits as 0000.png … 0999.png; returns the folder."""
    images = DIGITS / "t10k-images-idx3-ubyte.gz"
    if not images.exists():
        raise BenchError(f"{images} is missing: the benchmark posts the test pictures that are kept there")
    if (folder / f"{COUNT - 1:04d}.png").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(images) as file:
        pixels = file.read(16 + COUNT * PIXELS)[16:]
    for number in range(COUNT):
        one = pixels[number * PIXELS : (number + 1) * PIXELS]
        Image.frombytes("L", (28, 28), one).save(folder / f"{number:04d}.png")
    return folder


def answers(workload: str, images: Path, archive: Path, python: Path) -> Path:
    """The file of right answers, one hexadecimal line per picture: the digit for mnist, else the picture.

    The digits are what the archive's own handler answers in process, run by `python`.
    """
    file = CACHE / f"answers-{workload}.txt"
    if workload == "mnist":
        lines = digits(archive, images, python)
    else:
        lines = [path.read_bytes() for path in sorted(images.glob("*.png"))]
    file.write_text("".join(line.hex() + "\n" for line in lines))
    return file


def digits(archive: Path, images: Path, python: Path) -> list[bytes]:
    """What the archive's own handler answers in process, picture by picture."""
    command: list[str | Path] = [python, BENCH / "in_process.py", "--archive", archive]
    done = subprocess.run([*command, "--pictures", images, "--answers"], capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise BenchError(f"the mnist handler does not run in process: {last[0]}")
    return [line.encode() for line in done.stdout.split()]


def build_archive(variant: Variant, archiver: Path, store: Path) -> Path:
    """Makes the variant's archive with the given `torch-model-archiver`, over an older one."""
    store.mkdir(parents=True, exist_ok=True)
    command = [str(archiver), "--model-name", variant.name, "--version", "1.0", "--force"]
    command += ["--export-path", str(store)]
    if variant.workload == "mnist":
        command += ["--model-file", str(MNIST / "mnist.py"), "--serialized-file", str(MNIST / "mnist_cnn.pt")]
        command += ["--handler", str(MNIST / "mnist_handler.py")]
    else:
        command += ["--handler", str(BENCH / "handlers" / f"{variant.workload}.py")]
    if variant.config is not None:
        config = store / f"{variant.name}.yaml"
        config.write_text(variant.config)
        command += ["--config-file", str(config)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr + done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise BenchError(f"{archiver} failed for {variant.name}: {last[0]}")
    return store / f"{variant.name}.mar"
