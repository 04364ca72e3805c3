"""Standard output with a reader that is quick, slow, silent or gone."""

from __future__ import annotations

import io
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

import pytest

from torchkeeper.logs.console import Console

#: More than a pipe holds.
LONG = "x" * 70_000 + "\n"


class Pipe:
    """A pipe that is standard output while the console runs."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.reading, self.writing):
            with suppress(OSError):
                os.close(end)

    @contextmanager
    def console(self) -> Iterator[Console]:
        with os.fdopen(self.writing, "w", closefd=False) as stdout, running(stdout) as console:
            yield console

    def read(self, size: int) -> str:
        """So many bytes, or fewer if no more come."""
        found = b""
        while len(found) < size and select.select([self.reading], [], [], 10)[0]:
            found += os.read(self.reading, size - len(found))
        return found.decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with Pipe() as made:
        yield made


@contextmanager
def running(stdout: TextIO | None) -> Iterator[Console]:
    console = Console()
    with redirect_stdout(stdout):
        console.start()
        yield console
        console.close()


def test_texts_come_in_their_order(pipe: Pipe) -> None:
    with pipe.console() as console:
        assert all(console.write(f"line {number}\n") for number in range(50))
    text = "".join(f"line {number}\n" for number in range(50))
    assert pipe.read(len(text)) == text


def test_after_a_flush_all_is_written(pipe: Pipe) -> None:
    os.set_blocking(pipe.reading, False)
    with pipe.console() as console:
        for number in range(20):
            console.write(f"{number}\n")
            console.flush()
            assert os.read(pipe.reading, 100) == f"{number}\n".encode()


@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_gets_all_of_it(pipe: Pipe, blocking: bool) -> None:
    os.set_blocking(pipe.writing, blocking)
    with pipe.console() as console:
        for _ in range(3):
            console.write(LONG)
        assert pipe.read(3 * len(LONG)) == 3 * LONG


def test_a_reader_that_does_not_read_fills_the_queue_and_stops_nobody(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchkeeper.logs.console._PATIENCE", 0.01)
    with pipe.console() as console:
        taken = [console.write(LONG) for _ in range(200)]
        kept = taken.index(False)
        assert 100 <= kept <= 102
        assert not any(taken[kept + 2 :])
        console.flush()
        assert pipe.read(kept * len(LONG)) == kept * LONG


def test_a_reader_that_left_costs_nothing(pipe: Pipe) -> None:
    os.close(pipe.reading)
    with pipe.console() as console:
        for _ in range(3):
            assert console.write(LONG)
            console.flush()
        assert (console.lost, console.fault) == (3, "Broken pipe")


def test_half_a_character_is_written_as_an_escape(pipe: Pipe) -> None:
    with pipe.console() as console:
        console.write("caf\u00e9 " + os.fsdecode(b"\xff") + "\n")
    assert pipe.read(13) == "caf\u00e9 \\udcff\n"


def test_a_standard_output_that_is_no_file_takes_texts_too() -> None:
    with running(out := io.StringIO()) as console:
        console.write("one\n")
        console.write("two\n")
    assert out.getvalue() == "one\ntwo\n"


@pytest.mark.parametrize("stdout", [None, io.StringIO()], ids=["none at all", "closed"])
def test_without_a_standard_output_texts_are_taken_all_the_same(
    stdout: io.StringIO | None,
) -> None:
    if stdout is not None:
        stdout.close()
    with running(stdout) as console:
        for _ in range(10):
            assert console.write("text\n")
            console.flush()


def test_an_interpreter_ends_while_nobody_reads() -> None:
    program = (
        "from torchkeeper.logs.console import Console\n"
        "console = Console()\n"
        "console.start()\n"
        f"console.write({LONG!r} * 2)\n"
    )
    reading, writing = os.pipe()
    try:
        done = subprocess.run([sys.executable, "-c", program], stdout=writing, timeout=30, check=False)
    finally:
        os.close(writing)
        os.close(reading)
    assert done.returncode == 0
