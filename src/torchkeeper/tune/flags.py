"""The flags of `torchkeeper tune`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb `tune`."""
    tune = verbs.add_parser(
        "tune",
        help="find the fastest set-up of a model on this machine that answers as eager float32 does",
    )
    tune.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .mar or .tar.gz file, or a folder")
    tune.add_argument(
        "--sample",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE[:TYPE]",
        help="bodies of requests, with their content type if the name does not say it; or a folder of them",
    )
    tune.add_argument("--route", metavar="PATH", help="default: /predictions/MODEL")
    tune.add_argument("--ts-config", type=Path, metavar="FILE", help="configuration of the server")
    tune.add_argument("--target", metavar="pN=TIME", help="what must be met, such as p99=20ms")
    tune.add_argument("--time", default="10m", metavar="TIME", help="such as 90s or 1h; default: 10m")
    tune.add_argument(
        "--check",
        default="same",
        metavar="RULE",
        help="when answers are the same: same (default), exact, top1, rel=1e-3, or none",
    )
    tune.add_argument("--output", type=Path, metavar="DIR", help="for results; default: ./tune-ARCHIVE")
    tune.add_argument("--resume", action="store_true", help="go on from the results in the output folder")
    tune.add_argument(
        "--write", action="store_true", help="write the settings and the samples into the archive itself"
    )
