"""What is kept of compiled code, by whom it is believed, and what its key depends on; nothing is compiled."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from servers import eventually
from torchkeeper.handler.compile_cache import CompileCache, _forget_beyond, _forget_unused, _locked

KEY, ANOTHER, OLD, READ = (digit * 64 for digit in "0123")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path, tmp_path: Path) -> CompileCache:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "net.py").write_text("SCALE = 1\n")
    (tmp_path / "model" / "model-config.yaml").write_text("batchSize: 1\n")
    return CompileCache(folder, tmp_path / "model", ("model-config.yaml",))


class Builds:
    """Makes packages, and counts them."""

    def __init__(self, tmp_path: Path, text: str = "made") -> None:
        self.package = tmp_path / "built"
        self.text = text
        self.count = 0

    def __call__(self) -> tuple[str, Path]:
        self.count += 1
        self.package.write_text(self.text)
        return self.text, self.package


def test_what_was_made_once_is_read_from_then_on(cache: CompileCache, tmp_path: Path, folder: Path) -> None:
    build = Builds(tmp_path)
    assert [cache.obtained(KEY, Path.read_text, build) for _ in range(3)] == ["made"] * 3
    assert build.count == 1
    assert cache.obtained(ANOTHER, Path.read_text, build) == "made"
    assert build.count == 2
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / KEY)} == {0o700}
    assert sorted(path.name for path in folder.iterdir()) == [KEY, f"{KEY}.lock", ANOTHER, f"{ANOTHER}.lock"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "package.pt2").write_text("mad"),
        lambda entry: (entry / "package.pt2.sha256").write_text(""),
        lambda entry: (entry / "package.pt2.sha256").write_bytes(b"\xff\xfe"),
        lambda entry: (entry / "package.pt2.sha256").unlink(),
        lambda entry: (entry / "package.pt2").unlink(),
    ],
    ids=["a cut package", "an empty digest", "a digest of other bytes", "no digest", "no package"],
)
def test_what_is_damaged_is_made_anew(
    cache: CompileCache, tmp_path: Path, folder: Path, damage: Callable[[Path], object]
) -> None:
    build = Builds(tmp_path)
    cache.obtained(KEY, Path.read_text, build)
    damage(folder / KEY)
    assert cache.obtained(KEY, Path.read_text, build) == "made"
    assert build.count == 2
    assert cache.obtained(KEY, Path.read_text, build) == "made"
    assert build.count == 2


def test_what_does_not_load_is_made_anew(cache: CompileCache, tmp_path: Path) -> None:
    build = Builds(tmp_path)
    cache.obtained(KEY, Path.read_text, build)
    assert cache.obtained(KEY, lambda kept: None, build) == "made"
    assert build.count == 2


def test_a_folder_that_lets_others_in_is_not_believed(
    cache: CompileCache, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build = Builds(tmp_path)
    cache.obtained(KEY, Path.read_text, build)
    (folder / KEY / "package.pt2").write_text("planted")
    folder.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert cache.obtained(KEY, Path.read_text, build) == "made"
    assert "has mode 0777, which lets others in: it must be 0700" in caplog.text
    assert (folder / KEY / "package.pt2").read_text() == "planted"


def test_a_folder_that_cannot_be_had_costs_only_what_it_saves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    build = Builds(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = CompileCache(tmp_path / "file" / "cache", tmp_path).obtained(KEY, Path.read_text, build)
    assert found == "made"
    assert "this worker compiles for itself" in caplog.text


def test_a_compiler_that_fails_is_no_fault_of_the_cache(cache: CompileCache, folder: Path) -> None:
    calls = []

    def build() -> tuple[str, Path]:
        calls.append(1)
        raise OSError("no compiler")

    with pytest.raises(OSError, match="no compiler"):
        cache.obtained(KEY, Path.read_text, build)
    assert len(calls) == 1
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.lock"]


#: Compiles when it is told to, in a process of its own.
COMPILES = """
import sys
from pathlib import Path
from torchkeeper.handler.compile_cache import CompileCache

def build():
    print("compiling", flush=True)
    sys.stdin.readline()
    package = Path(sys.argv[2])
    package.write_text("made there")
    return "made there", package

CompileCache(Path(sys.argv[1]), Path(sys.argv[1])).obtained(sys.argv[3], Path.read_text, build)
"""


def test_one_compiles_and_the_others_wait_for_it(cache: CompileCache, tmp_path: Path, folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMPILES, folder, tmp_path / "there", KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "compiling\n"
        build, found = Builds(tmp_path, "made here"), []
        second = threading.Thread(
            target=lambda: found.append(cache.obtained(KEY, Path.read_text, build)), daemon=True
        )
        second.start()
        with (folder / f"{KEY}.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        first.stdin.write("\n")
        first.stdin.flush()
        second.join(timeout=60)
        assert first.wait(timeout=60) == 0
    assert found == ["made there"]
    assert build.count == 0


def test_what_nobody_has_read_for_a_month_goes(cache: CompileCache, tmp_path: Path, folder: Path) -> None:
    build = Builds(tmp_path)
    for key in (OLD, READ, KEY):
        cache.obtained(key, Path.read_text, build)
    (folder / f".{OLD}-half-made").mkdir()
    (folder / "thesis").mkdir()  # a folder of this user's alone may be a home
    (folder / "notes.txt").touch()
    long_ago = time.time() - 40 * 24 * 3600
    for name in (OLD, f"{OLD}.lock", READ, f".{OLD}-half-made", "thesis", "notes.txt"):
        os.utime(folder / name, (long_ago, long_ago))
    cache.obtained(READ, Path.read_text, build)
    cache.obtained(ANOTHER, Path.read_text, build)
    left = {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}
    assert left == {READ, KEY, ANOTHER, "thesis", "notes.txt"}
    assert not (folder / f"{OLD}.lock").exists()


@pytest.mark.parametrize(
    ("most", "left"), [(6, {READ, KEY}), (4, {KEY}), (1, {KEY}), (100, {OLD, READ, KEY})]
)
def test_beyond_its_bytes_what_was_read_longest_ago_goes_and_never_what_is_in_use(
    tmp_path: Path, folder: Path, most: int, left: set[str]
) -> None:
    most = most * 1000
    sizes = CompileCache(folder, tmp_path), CompileCache(folder, tmp_path, max_bytes=most)
    build = Builds(tmp_path, "x" * 2500)
    for later, key in enumerate((READ, OLD)):
        sizes[0].obtained(key, Path.read_text, build)
        os.utime(folder / key, (time.time() - 1000 + later,) * 2)
    sizes[0].obtained(READ, Path.read_text, build)
    sizes[1].obtained(KEY, Path.read_text, build)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == left


def test_what_another_reads_is_not_removed(tmp_path: Path, folder: Path) -> None:
    build = Builds(tmp_path, "x" * 2500)
    CompileCache(folder, tmp_path).obtained(OLD, Path.read_text, build)
    with (folder / f"{OLD}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        CompileCache(folder, tmp_path, max_bytes=1).obtained(KEY, Path.read_text, build)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {OLD, KEY}


@contextlib.contextmanager
def reading(cache: CompileCache, key: str) -> Iterator[None]:
    """A time in which another thread reads an entry."""
    begun, over = threading.Event(), threading.Event()

    def read(kept: Path) -> str:
        begun.set()
        assert over.wait(60)
        return kept.read_text()

    def build() -> tuple[str, Path]:
        raise AssertionError("it is there")

    reader = threading.Thread(target=cache.obtained, args=(key, read, build), daemon=True)
    reader.start()
    assert begun.wait(60)
    try:
        yield
    finally:
        over.set()
        reader.join(60)


def test_what_was_made_a_month_ago_is_not_removed_while_another_reads_it(
    tmp_path: Path, folder: Path
) -> None:
    build, most = Builds(tmp_path, "x" * 2500), CompileCache(folder, tmp_path, max_bytes=1)
    most.obtained(OLD, Path.read_text, build)
    lock = folder / f"{OLD}.lock"
    long_ago = time.time() - 31 * 24 * 3600
    with reading(most, OLD):
        # As if reading had begun a month ago, too.
        for path in (folder / OLD, lock):
            os.utime(path, (long_ago, long_ago))
        before = lock.stat().st_ino
        for key in (READ, KEY):
            most.obtained(key, Path.read_text, build)
        assert lock.stat().st_ino == before
        assert {path.name for path in folder.iterdir() if path.is_dir()} == {OLD, KEY}
    most.obtained(ANOTHER, Path.read_text, build)
    assert sorted(path.name for path in folder.iterdir()) == [ANOTHER, f"{ANOTHER}.lock"]


def test_what_was_made_a_month_ago_and_is_read_keeps_its_lock(tmp_path: Path, folder: Path) -> None:
    build, cache = Builds(tmp_path), CompileCache(folder, tmp_path)
    cache.obtained(READ, Path.read_text, build)
    long_ago = time.time() - 31 * 24 * 3600
    for path in (folder / READ, folder / f"{READ}.lock"):
        os.utime(path, (long_ago, long_ago))
    cache.obtained(READ, Path.read_text, build)
    cache.obtained(KEY, Path.read_text, build)
    assert sorted(path.name for path in folder.iterdir()) == [KEY, f"{KEY}.lock", READ, f"{READ}.lock"]


def test_a_lock_of_nothing_goes_after_a_month(tmp_path: Path, folder: Path) -> None:
    build, cache = Builds(tmp_path), CompileCache(folder, tmp_path)
    cache.obtained(READ, Path.read_text, build)
    for key, days in ((OLD, 31), (ANOTHER, 29)):
        lock = folder / f"{key}.lock"
        lock.touch()
        os.utime(lock, (time.time() - days * 24 * 3600,) * 2)
    cache.obtained(KEY, Path.read_text, build)
    assert {path.name for path in folder.glob("*.lock")} == {f"{key}.lock" for key in (READ, KEY, ANOTHER)}


def test_who_waited_for_a_lock_that_was_removed_meanwhile_takes_the_new_one(tmp_path: Path) -> None:
    path, held = tmp_path / "lock", threading.Event()

    def take() -> None:
        with _locked(path), path.open() as new, contextlib.suppress(BlockingIOError):
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return  # it has another file than the one at the path
        held.set()

    with _locked(path):
        waiter = threading.Thread(target=take, daemon=True)
        waiter.start()
        inode = f":{path.stat().st_ino} "
        locks = Path("/proc/locks")
        eventually(lambda: any("->" in one and inode in one for one in locks.read_text().splitlines()))
        path.unlink()
    waiter.join(60)
    assert held.is_set()


class Vanishing(type(Path())):  # type: ignore[misc]  # Path's class is the system's
    """A folder whose entries another process removes while they are looked at."""

    def iterdir(self) -> Iterator[Path]:
        for path in [*super().iterdir()]:
            if path.name == OLD:
                shutil.rmtree(path, ignore_errors=True)
            yield path


def test_what_another_removes_meanwhile_is_nothing(tmp_path: Path, folder: Path) -> None:
    build, cache = Builds(tmp_path, "x" * 2500), CompileCache(folder, tmp_path)
    for later, key in enumerate((READ, KEY)):
        cache.obtained(key, Path.read_text, build)
        os.utime(folder / key, (time.time() - 1000 + later,) * 2)
    for forget in (_forget_unused, lambda place: _forget_beyond(place, 3000)):
        cache.obtained(OLD, Path.read_text, build)
        forget(Vanishing(folder))
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {KEY}


def test_what_cannot_be_cleaned_is_told_and_what_was_made_is_kept(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build, cache = Builds(tmp_path, "x" * 2500), CompileCache(folder, tmp_path, max_bytes=1)
    cache.obtained(OLD, Path.read_text, build)
    (folder / f"{OLD}.lock").unlink()
    (folder / f"{OLD}.lock").mkdir()
    with caplog.at_level(logging.WARNING):
        cache.obtained(KEY, Path.read_text, build)
    assert "Compiled code that was kept before could not be removed: " in caplog.text
    assert "is not kept" not in caplog.text
    assert (folder / KEY / "package.pt2").is_file()


# --- keys ------------------------------------------------------------------------------------------------


class Rounding(enum.Enum):
    UP = 1
    DOWN = 2


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.scale = torch.tensor(2.0)
        self.options = {"power": 2}
        self._cap, self.kept = 1.0, {"a", "b"}
        self.activation, self.rounding = torch.relu, Rounding.UP

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x)) * self.scale


def same(net: Net) -> Net:
    return net


def other_weight(net: Net) -> Net:
    with torch.no_grad():
        net.layer.weight[0, 0] += 1e-6
    return net


def other_buffer(net: Net) -> Net:
    net.norm.running_mean += 1
    return net


def other_tensor(net: Net) -> Net:
    net.scale = torch.tensor(3.0)
    return net


def other_option(net: Net) -> Net:
    net.options["power"] = 3
    return net


def other_private_option(net: Net) -> Net:
    net._cap = 2.0
    return net


def other_set(net: Net) -> Net:
    net.kept = {"a", "c"}
    return net


def same_set(net: Net) -> Net:
    net.kept = {"b", "a"}
    return net


def other_function(net: Net) -> Net:
    net.activation = torch.tanh
    return net


def other_member(net: Net) -> Net:
    net.rounding = Rounding.DOWN
    return net


def other_dtype(net: Net) -> Net:
    return net.bfloat16()


def other_mode(net: Net) -> Net:
    return net.eval()


def other_layout(net: Net) -> Net:
    net.layer.weight = torch.nn.Parameter(net.layer.weight.detach().t().contiguous().t())
    return net


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        (same, True),
        (same_set, True),
        *((other, False) for other in (other_private_option, other_set, other_function, other_member)),
        *((other, False) for other in (other_weight, other_buffer, other_tensor, other_option)),
        *((other, False) for other in (other_dtype, other_mode, other_layout)),
    ],
)
def test_a_key_is_the_models(cache: CompileCache, change: Callable[[Net], Net], alike: bool) -> None:
    assert (cache.key(Net(), "call") == cache.key(change(Net()), "call")) is alike


@pytest.mark.parametrize(
    ("name", "text", "alike"),
    [
        ("net.py", "SCALE = 2\n", False),
        ("more/names.json", "[]", False),
        ("model-config.yaml", "batchSize: 8\n", True),
        ("MAR-INF/MANIFEST.json", '{"createdOn": "today"}', True),
        ("__pycache__/net.cpython-311.pyc", "compiled", True),
    ],
)
def test_a_key_is_the_archives_code(
    cache: CompileCache, tmp_path: Path, name: str, text: str, alike: bool
) -> None:
    before = cache.key(Net(), "call")
    file = tmp_path / "model" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    assert (cache.key(Net(), "call") == before) is alike


def test_a_key_is_not_of_where_the_archive_was_unpacked(cache: CompileCache, tmp_path: Path) -> None:
    keys = set()
    for place in ("first", "second"):
        folder = tmp_path / place
        packages = folder / "venv" / "lib" / "python3.11" / "site-packages"
        (packages / "wanted-1.0.dist-info").mkdir(parents=True)
        (folder / "venv" / "pyvenv.cfg").write_text(f"command = python -m venv {folder}/venv\n")
        (packages / "wanted.py").write_text(str(folder))
        net: Any = Net()
        net.name_or_path = str(folder)
        keys.add(CompileCache(tmp_path / "cache", folder).key(net, "call"))
    assert len(keys) == 1
    (packages / "wanted-1.0.dist-info").rename(packages / "wanted-1.1.dist-info")
    assert CompileCache(tmp_path / "cache", folder).key(net, "call") not in keys


def test_a_key_is_the_calls_and_the_threads(cache: CompileCache) -> None:
    keys, threads = {cache.key(Net(), "call"), cache.key(Net(), "another")}, torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        keys.add(cache.key(Net(), "call"))
    finally:
        torch.set_num_threads(threads)
    assert len(keys) == 3


class Opaque(torch.Tensor):
    """A tensor of a class that does not say what it is made of."""


class Scaled(Opaque):
    """One that does."""

    def __tensor_flatten__(self) -> tuple[list[str], object]:
        return ["number", "scale"], {"rounded": True}


def scaled(number: float) -> torch.Tensor:
    made: Any = torch.zeros(1).as_subclass(Scaled)
    made.number, made.scale = torch.tensor(number), torch.tensor(2.0)
    return cast(torch.Tensor, made)


def test_a_tensor_made_of_others_counts_as_those(cache: CompileCache) -> None:
    nets: list[Any] = [Net(), Net(), Net()]
    for net, number in zip(nets, (1.0, 1.0, 3.0), strict=True):
        net.scale = scaled(number)
    one, same, another = (cache.key(net, "call") for net in nets)
    assert None is not one == same != another


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        (torch.eye(2).to_sparse(), "the model holds a tensor of another kind (torch.sparse_coo, cpu)"),
        (torch.zeros(2).as_subclass(Opaque), "the model holds a tensor of a class of its own (Opaque)"),
        (torch.zeros(2, device="meta"), "the model holds a tensor of another kind (torch.strided, meta)"),
    ],
)
def test_of_what_cannot_be_told_nothing_is_kept(
    cache: CompileCache,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    scale: torch.Tensor,
    why: str,
) -> None:
    net: Any = Net()
    net.scale = scale
    with caplog.at_level(logging.WARNING):
        key = cache.key(net, "call")
    assert key is None
    assert why in caplog.text
    build = Builds(tmp_path)
    assert [cache.obtained(key, Path.read_text, build) for _ in range(2)] == ["made"] * 2
    assert build.count == 2
