"""Feeds targets with inputs that atheris (libFuzzer) makes, guided by the branches that they reach.

`python fuzz/run.py --seconds 60 requests archives`; without names all of them. What was reached is kept in
.cache/fuzz/NAME/corpus and begins the next run; an input that fails is kept beside it, as `crash-…`, and
`python fuzz/run.py --replay FILE NAME` runs it alone.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "fuzz"
#: Seconds after which an input takes too long, and megabytes that it may not take.
TOO_LONG, TOO_MUCH = 10, 2048
#: Packages whose branches guide: ours, and those that read for us in Python.
GUIDES = ["torchkeeper", "targets", "python_multipart", "yaml", "zipfile", "tarfile", "pickletools", "email"]
#: Where the targets' seeds come from, as pytest's `pythonpath` has it.
sys.path += [str(ROOT / "tests" / folder) for folder in ("", "http", "corpus/archives")]


def main() -> int:
    """The command; 1 if any target found something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="NAME", help="which targets; all without")
    parser.add_argument("--seconds", type=int, default=60, help="how long each of them runs")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input, without atheris")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return fuzz(options.targets[0], options.seconds)
    from targets import TARGETS  # not above: atheris instruments what is imported after it

    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    names = options.targets or list(TARGETS)
    if options.replay is not None:
        for name in names:
            TARGETS[name].run(options.replay.read_bytes())
        return 0
    failed = []
    for name in names:
        print(f"--- {name}: {options.seconds} s", flush=True)
        command = [sys.executable, __file__, "--here", "--seconds", str(options.seconds), name]
        begin = time.monotonic()
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print(f"--- {name}: ended after {time.monotonic() - begin:.0f} s", flush=True)
    print(f"found something: {', '.join(failed)}" if failed else "found nothing")
    return bool(failed)


def fuzz(name: str, seconds: int) -> int:
    """Runs one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=GUIDES):
        from targets import TARGETS
    target, folder = TARGETS[name], CACHE / name
    corpus, seeds = folder / "corpus", folder / "seeds"
    for each in (corpus, seeds):
        each.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed[: target.longest])
    bounds = [f"-max_total_time={seconds}", f"-max_len={target.longest}"]
    bounds += [f"-timeout={TOO_LONG}", f"-rss_limit_mb={TOO_MUCH}"]
    places = [f"-artifact_prefix={folder}/", str(corpus), str(seeds)]
    atheris.Setup([sys.argv[0], *bounds, "-print_final_stats=1", *places], target.run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
