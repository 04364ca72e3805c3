"""A model's own packages: what the installer is asked, what becomes of its output, and of its processes.

The installer is a stand-in that Python finds before the real one, in real processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from torchkeeper.archive.requirements import Place, install
from torchkeeper.errors import RequirementsFailed

#: Prints what it was asked for, and then does what the requirements say, which are Python here.
PIP = """
import json, os, sys
print(json.dumps([sys.executable, sys.argv[1:], os.environ.get("TMPDIR"), sorted(os.environ)]), flush=True)
exec(open(sys.argv[sys.argv.index("-r") + 1]).read())
"""
#: Makes as much of an environment as is used.
VENV = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "bin").mkdir(parents=True)
(folder / "bin" / "python").symlink_to(sys.executable)
version = f"python{sys.version_info.major}.{sys.version_info.minor}"
(folder / "lib" / version / "site-packages").mkdir(parents=True)
"""


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    for name, code in (("pip", PIP), ("venv", VENV)):
        (tmp_path / "tools" / name).mkdir(parents=True)
        (tmp_path / "tools" / name / "__init__.py").touch()
        (tmp_path / "tools" / name / "__main__.py").write_text(code)
    model_dir = tmp_path / "model"
    model_dir.mkdir()

    def make(requirements: str, own_venv: bool = False) -> Place:
        (model_dir / "requirements.txt").write_text(requirements)
        environ = {"PYTHONPATH": str(tmp_path / "tools")}
        return Place("m", model_dir, model_dir / "requirements.txt", own_venv, environ)

    return make


def run(place: Place) -> tuple[str, list[str]]:
    said: list[str] = []
    return asyncio.run(install(place, said.append)), said


def test_packages_go_beside_the_model(place: Callable[..., Place]) -> None:
    made = place("print('done')")
    python, (asked, *rest) = run(made)
    executable, arguments, temp, environ = json.loads(asked)
    assert python == executable == sys.executable
    assert arguments[0] == "install"
    assert arguments[-5:] == ["-U", "-t", str(made.model_dir), "-r", str(made.requirements)]
    assert temp == str(made.model_dir / ".installing")
    assert "PATH" not in environ, "nothing of the server's own environment"
    assert rest == ["done"]
    assert [path.name for path in made.model_dir.iterdir()] == ["requirements.txt"]


def test_an_environment_of_its_own_sees_the_servers_packages_too(place: Callable[..., Place]) -> None:
    made = place("", own_venv=True)
    python, (asked,) = run(made)
    executable, arguments, *_ = json.loads(asked)
    assert python == executable == str(made.model_dir / "venv" / "bin" / "python")
    assert "-t" not in arguments
    (shared,) = (made.model_dir / "venv").glob("lib/python3*/site-packages/*.pth")
    assert all(line.startswith("import site; site.addsitedir(") for line in shared.read_text().splitlines())


@pytest.mark.parametrize("own_venv", [False, True])
def test_the_last_lines_of_an_installer_that_fails_are_the_cause(
    place: Callable[..., Place], own_venv: bool
) -> None:
    made = place("for number in range(9): print(number)\nprint('no such package')\nsys.exit(1)", own_venv)
    said: list[str] = []
    with pytest.raises(RequirementsFailed) as raised:
        asyncio.run(install(made, said.append))
    assert raised.value.cause == "5\n6\n7\n8\nno such package"
    assert said[1:] == [*map(str, range(9)), "no such package"]
    assert not (made.model_dir / ".installing").exists()


def test_a_file_that_is_not_there(place: Callable[..., Place]) -> None:
    made = place("")
    made.requirements.unlink()
    with pytest.raises(RequirementsFailed) as raised:
        run(made)
    assert raised.value.cause == "requirements.txt is not in the archive"


@pytest.mark.parametrize(
    ("prints", "lines"),
    [
        ("b'one\\ntwo'", ["one", "two"]),
        ("b'\\xff!\\n'", ["�!"]),
        ("b'x' * 300_000", None),
    ],
    ids=["no end of line", "no text", "one long line"],
)
def test_output_of_any_kind(place: Callable[..., Place], prints: str, lines: list[str] | None) -> None:
    _, (_, *said) = run(
        place(f"sys.stdout.flush(); os.write(1, {prints})" if lines else f"print({prints[1:]})")
    )
    if lines is None:
        assert "".join(said) == "x" * 300_000
        assert len(said) > 1, "it is not kept until its end"
    else:
        assert said == lines


def test_whoever_waits_no_longer_leaves_no_process(place: Callable[..., Place]) -> None:
    made = place(
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(os.getpid(), child.pid, flush=True)\n"
        "child.wait()"
    )

    async def leave() -> tuple[int, int]:
        said: asyncio.Queue[str] = asyncio.Queue()
        waiting = asyncio.create_task(install(made, said.put_nowait))
        await said.get()
        installer, child = (os.pidfd_open(int(pid)) for pid in (await said.get()).split())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return installer, child

    async def run() -> tuple[int, int]:
        async with asyncio.timeout(60):
            return await leave()

    for process in asyncio.run(run()):
        assert select.select([process], [], [], 60)[0], "it has ended"
        os.close(process)
    assert not (made.model_dir / ".installing").exists()
