"""The whole of it in one process, and what it says of itself."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from children import in_child, outcome  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.sandbox import landlock
from torchkeeper.sandbox.confine import confine
from torchkeeper.wire.messages import Confinement, Sandbox

ABI = landlock.version() if sys.platform == "linux" else 0
pytestmark = pytest.mark.skipif(
    ABI < landlock.SCOPES_SINCE, reason=f"the kernel's Landlock has version {ABI}, not 6"
)


def strict(folder: Path) -> Sandbox:
    for name in ("model", "scratch"):
        (folder / name).mkdir()
    return Sandbox("strict", False, model_dir=str(folder / "model"), scratch=str(folder / "scratch"))


def beside_threads(lacking: tuple[str, ...]) -> tuple[str, ...]:
    """What is lacking but for threads: libraries that other tests have used begin theirs after a fork."""
    return tuple(sentence for sentence in lacking if "threads had begun before" not in sentence)


def test_strict_leaves_a_process_its_model_its_folder_and_little_more(tmp_path: Path) -> None:
    sandbox = strict(tmp_path)
    (tmp_path / "model" / "weights").write_text("w")
    (tmp_path / "secret").write_text("s")

    def work() -> tuple[Confinement, dict[str, str | None], dict[str, str], str]:
        told = confine(sandbox)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("x")
            place = file.name
        tried = {
            "weights": outcome(lambda: (tmp_path / "model" / "weights").read_text()),
            "write": outcome(lambda: (tmp_path / "model" / "new").write_text("x")),
            "secret": outcome(lambda: (tmp_path / "secret").read_text()),
            "null": outcome(lambda: Path("/dev/null").write_text("x")),
            "standard library": outcome(lambda: Path(os.__file__).read_text()),
            "own": outcome(lambda: Path("/proc/self/status").read_text()),
            "parent": outcome(lambda: os.listdir(f"/proc/{os.getppid()}")),
        }
        return told, tried, dict(os.environ), place

    told, tried, environ, place = in_child(work)
    assert beside_threads(told.lacking) == ()
    assert (told.level, told.parts["landlock"], told.parts["network"]) == ("strict", ABI, "none")
    assert {name for name, error in tried.items() if error is None} == {
        *("weights", "null", "standard library", "own")
    }
    assert environ["HOME"] == environ["TMPDIR"] == sandbox.scratch
    assert told.parts["variables"] == len(environ) <= 12
    assert place.startswith(sandbox.scratch)


def test_default_leaves_the_environment_and_the_files(tmp_path: Path) -> None:
    def work() -> tuple[Confinement, bool, str | None]:
        before = dict(os.environ)
        told = confine(Sandbox("default"))
        return told, before == dict(os.environ), outcome(lambda: (tmp_path / "new").write_text("x"))

    told, same, written = in_child(work)
    assert (same, written) == (True, None)
    assert not told.parts["seccomp"]
    assert "network" not in told.parts


def test_threads_from_before_are_told_of() -> None:
    import threading

    def work() -> tuple[str, int]:
        waiting = threading.Event()
        threading.Thread(target=waiting.wait, daemon=True).start()
        (told,) = confine(Sandbox("default")).lacking
        return told, len(os.listdir("/proc/self/task"))

    told, threads = in_child(work)
    assert told == f"{threads - 1} threads had begun before the sandbox and are outside of it"
    assert threads > 1


def test_what_the_kernel_does_not_have_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    told = in_child(lambda: confine(Sandbox("default")))
    assert told.parts["landlock"] == 0
    assert beside_threads(told.lacking) == (
        "the kernel has no Landlock, or it is off: other processes and their memory are open to workers",
    )
    assert told.parts["noNewPrivileges"], "the rest is in force"
