"""The ends of workers: kept, and told at length once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from torchkeeper.pool.failures import Failures
from torchkeeper.pool.life import Life
from torchkeeper.pool.worker import Worker
from torchkeeper.wire.frames import LoadFailed
from torchkeeper.wire.messages import ModelSpec

SPEC = ModelSpec("m", "1.0", "/nowhere", {}, "h.py", None, None, 1, None)


class Scene:
    """A place whose processes end one after the other."""

    def __init__(self) -> None:
        self.printed: list[str] = []
        self.failures = Failures(lambda worker, stream, line: self.printed.append(line))
        self.worker = Worker(1, SPEC, Life(300), lambda worker, why: None)
        self.worker.name = "W-9000-m_1.0"

    def fail(self, cause: str, code: int = 3) -> None:
        self.failures.watch(self.worker)
        self.worker.last_words = (
            LoadFailed(cause, "h.py, line 1", "", f"Traceback\n{cause}\n") if cause else None
        )
        self.worker.printed("stderr", "a line")
        self.failures.keep(self.worker, self.failures.examine(self.worker, None, code, None))


@pytest.fixture
def scene() -> Scene:
    async def make() -> Scene:
        return Scene()

    return asyncio.run(make())


def test_a_load_that_keeps_failing_is_told_at_length_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(4):
        scene.fail("ValueError: x")
    assert scene.printed == ["Traceback", "ValueError: x"]
    assert scene.failures.times == 4
    long, *short = [record.getMessage() for record in caplog.records]
    assert "last lines of stderr:\n    a line" in long
    assert [one.partition(" times")[0] for one in short] == [
        f"W-9000-m_1.0 has ended: again, the same ({count}" for count in (2, 3, 4)
    ]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    scene.fail("ValueError: y")
    assert scene.printed[2:] == ["Traceback", "ValueError: y"]
    assert scene.failures.times == 1
    assert scene.failures.last is not None
    assert "ValueError: y" in scene.failures.last.cause


def test_what_comes_again_much_later_is_told_at_length_again(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.fail("", code=7)
    scene.failures.overcome()
    scene.fail("", code=7)
    assert "again, the same (2 times)" in caplog.messages[1]
    monkeypatch.setattr("torchkeeper.pool.failures._QUIET", 0.0)
    scene.failures.overcome()
    scene.fail("", code=7)
    assert "last lines of stderr" in caplog.messages[2]
    assert scene.failures.times == 3
