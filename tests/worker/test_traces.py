"""What an import leaves behind, in processes of their own: what forks could not do without is told."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from torchkeeper.worker.traces import obstacles_of_a_load
from workers import light_environ

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers")

THREAD = (
    "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), name='beat', daemon=True).start()"
)


def obstacles(folder: Path, source: str, *, names: bool = False) -> str:
    """What is said of a process once it has run some source, with heavy libraries where it wants them.

    With `names` it is a module, and what it holds is looked at.
    """
    looks, said = "", source
    if names:
        (folder / "mine.py").write_text(source)
        source, looks = f"import sys\nsys.path.insert(0, {str(folder)!r})\nimport mine", repr(str(folder))
    whole = (
        "import os, sys\nfrom torchkeeper.worker.traces import Traces\nbefore = Traces.now()\n"
        f"exec({source!r}, {{}})\nprint(*before.obstacles({looks}), sep='; ', flush=True)\nos._exit(0)"
    )
    heavy = "numpy" in said or "torch" in said
    environ = {**(os.environ if heavy else light_environ(folder / "light")), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", whole], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (THREAD, r"it started 1 thread \(beat\)"),
        ("import subprocess\nsubprocess.Popen(['sleep', '9'])", "it started a process"),
        ("import signal\nsignal.alarm(9)", "it set a timer"),
        ("import sys\nsys.kept = open('/proc/self/status')", r"it opened /proc/\d+/status"),
        ("import sys, socket\nsys.kept = socket.socket()", r"it opened socket:\[\d+\]"),
        (
            "import asyncio\nasyncio.set_event_loop(asyncio.new_event_loop())",
            r"(it opened (anon_inode:\[eventpoll\]|socket:\[\d+\])(; |$))+",
        ),
        ("import sys, mmap\nsys.kept = mmap.mmap(-1, 4096)", r"it made memory that processes share \(.*\)"),
        ("import tempfile\ntempfile.mkdtemp()", "it made temporary files or folders"),
        ("import random\nrandom.seed(1)", "it seeded or used `random`"),
        ("import numpy\nnumpy.random.seed(1)", r"it seeded or used `numpy\.random`"),
    ],
)
def test_what_forks_would_share_or_miss_is_told(tmp_path: Path, source: str, said: str) -> None:
    assert re.fullmatch(said, obstacles(tmp_path, source))


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import json, decimal, logging, concurrent.futures, multiprocessing",
        "import subprocess\nsubprocess.run(['true'])",
        "import threading\none = threading.Thread(target=int)\none.start()\none.join()",
        "import tempfile\ntempfile.gettempdir()",
        "import asyncio\nasyncio.run(asyncio.sleep(0))",
        "import sys\nsys.kept = open('/dev/urandom', 'rb')",
        "import torch\ntorch.manual_seed(1)\ntorch.set_num_threads(1)\ntorch.ones(2, 2) @ torch.ones(2, 2)",
    ],
)
def test_what_passes_or_can_be_shared_is_not(tmp_path: Path, source: str) -> None:
    assert obstacles(tmp_path, source) == ""


def test_generators_that_a_handler_keeps_are_told_of(tmp_path: Path) -> None:
    source = (
        "import random\nimport numpy\nimport torch\nfrom random import Random\n"
        "one, two, three, four = (\n"
        "    random.Random(), numpy.random.default_rng(), numpy.random.RandomState(), torch.Generator()\n)\n"
    )
    told = "; ".join(
        f"it made a generator of random numbers (mine.{name})" for name in ("four", "one", "three", "two")
    )
    assert obstacles(tmp_path, source, names=True) == told
    assert obstacles(tmp_path, source) == "", "only of modules of its folder"


@pytest.mark.parametrize(
    "source",
    [
        "class held:\n    attribute = random.Random(1)",
        "class Base:\n    attribute = [random.Random(1)]\nclass held(Base):\n    pass\ndel Base",
        "def make(own):\n    return lambda: own.random()\nheld = make(random.Random(1))",
        "def held(own=random.Random(1)):\n    return own.random()",
        "def held(*, own=random.Random(1)):\n    return own.random()",
        "held = random.Random(1).random",
        "held = functools.partial(random.Random.random, random.Random(1))",
        "held = functools.lru_cache(lambda own=random.Random(1): own.random())",
        "class Service:\n    def __init__(self):\n        self.own = random.Random(1)\nheld = Service()",
    ],
    ids=[
        *("attribute", "inherited", "closure", "default", "keyword", "method", "partial", "wrapped"),
        "instance",
    ],
)
def test_so_are_those_out_of_sight(tmp_path: Path, source: str) -> None:
    told = "it made a generator of random numbers (mine.held)"
    assert obstacles(tmp_path, f"import functools, random\n{source}", names=True) == told


@pytest.mark.parametrize(
    "source",
    [
        "import random\nkind, system, function = random.Random, random.SystemRandom(), random.random",
        "import random\nthe_one_of_all = random.random.__self__",
        "import numpy, torch\none, other = numpy.random.mtrand._rand, torch.default_generator",
        "import numpy\nfrom torch.utils.data import random_split\nkept = [numpy.random.rand, random_split]",
        "import logging\nlogger = logging.getLogger(__name__)",
    ],
)
def test_those_that_are_seeded_anew_in_each_fork_or_are_nobodys_are_not(tmp_path: Path, source: str) -> None:
    assert obstacles(tmp_path, source, names=True) == ""


class _Holder:
    """What a handler may be."""

    def __init__(self, **held: object) -> None:
        self.__dict__.update(held)


def test_generators_that_a_loaded_handler_holds_are_found_but_not_those_of_libraries() -> None:
    harmless = _Holder(module=random, kind=random.Random, draw=random.random, system=random.SystemRandom())
    assert list(obstacles_of_a_load(harmless)) == []
    deep = _Holder(parts=[{"a": (_Holder(own=random.Random(1)),)}])
    assert list(obstacles_of_a_load(deep)) == ["it made a generator of random numbers (random.Random)"]


def test_so_are_those_in_closures_and_classes_of_the_handlers_modules() -> None:
    def drawing(own: random.Random) -> Callable[[], float]:
        return lambda: own.random()

    class Draws(_Holder):
        own = random.Random(1)

    told = ["it made a generator of random numbers (random.Random)"]
    here = os.path.dirname(__file__)
    assert list(obstacles_of_a_load(_Holder(draw=drawing(random.Random(1))))) == told
    assert list(obstacles_of_a_load([Draws()], here)) == told
    assert list(obstacles_of_a_load([Draws()], os.path.dirname(here))) == [], "another's class"


def test_a_vocabulary_is_looked_through_and_what_has_no_end_is_not() -> None:
    words = {f"word {number}": number for number in range(300_000)}
    own = random.Random(1)
    assert list(obstacles_of_a_load([words, list(words.items())[:100_000]])) == []
    told = ["it made a generator of random numbers (random.Random)"]
    assert list(obstacles_of_a_load([words, own])) == told
    too_much = ["it holds too much to be looked through for generators of random numbers"]
    assert list(obstacles_of_a_load([[0] * 5_000_000])) == too_much
    assert list(obstacles_of_a_load([[] for _ in range(500_000)])) == too_much


@pytest.mark.parametrize("made", ["numpy.random.default_rng(1)", "torch.Generator()"])
def test_so_are_those_of_numpy_and_torch(made: str) -> None:
    whole = (
        "import numpy, torch\nfrom torchkeeper.worker.traces import obstacles_of_a_load\n"
        "class One:\n    pass\n"
        "one = One()\none.model = torch.nn.Dropout()\nprint(list(obstacles_of_a_load(one)))\n"
        f"one.kept = [{made}]\nprint(*obstacles_of_a_load(one))"
    )
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.splitlines()
    assert before == "[]"
    assert re.fullmatch(r"it made a generator of random numbers \(\S+\.Generator\)", after)
