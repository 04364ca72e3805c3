"""Why user code failed: the error, where in the model's own code, and what to do about it."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torchkeeper.handler.safe_text import safe_str, whole_text
from torchkeeper.wire.advice import bring, required
from torchkeeper.wire.remedies import remedy

#: Characters of a traceback that travel: its end, for the error stands there.
_LONGEST_TRACEBACK = 1 << 15
#: Errors that are asked for what helps, from the last one to the first.
_CAUSES = 5


def cause_of(error: BaseException) -> str:
    """An error's type and whole text in one line, bounded."""
    kind = type(error)
    known = kind.__module__ == "builtins" or kind.__module__.startswith("torchkeeper.")
    name = kind.__qualname__ if known else f"{kind.__module__}.{kind.__qualname__}"
    said = whole_text(error)
    return safe_str(f"{name}: {said}" if said else name, 2100)


@dataclass(frozen=True)
class Blame:
    """Looks for the faults of one model's code; `ignored_requirements` is its file that is not installed."""

    folder: Path
    ignored_requirements: str | None = None

    def of(self, error: BaseException) -> tuple[str, str]:
        """Where in the model's own code it failed, and what to do about it; nothing where that is unknown."""
        return place_of(error, self.folder), remedy_of(error, self.folder, self.ignored_requirements)


def place_of(error: BaseException, model_dir: Path) -> str:
    """The last line of the model's own code that the error came through; nothing if it came through none."""
    folder = model_dir.resolve()
    if isinstance(error, SyntaxError) and error.filename and (own := _own(error.filename, folder)):
        return f"{own}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if own := _own(frame.filename, folder):
            return f"{own}, line {frame.lineno}, in {frame.name}"
    return ""


def _own(file: str, folder: Path) -> str:
    path = Path(file)
    if not path.is_absolute():
        path = folder / path
        if not path.exists():
            return ""  # code that came from no file
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""


def remedy_of(error: BaseException, model_dir: Path, ignored_requirements: str | None) -> str:
    """What to do about it, where that is known; `ignored_requirements` is the file that is not installed."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        listed = set()
        if ignored_requirements:
            with contextlib.suppress(OSError):
                listed = required((model_dir / ignored_requirements).read_text(errors="replace"))
        return bring(error.name, ignored_requirements, listed)
    for told in _with_causes(error):
        if do := remedy(type(told).__name__, safe_str(told)):
            return do
    return ""


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was made of; a few, for there may be a ring of them."""
    told: BaseException | None = error
    for _ in range(_CAUSES):
        if told is None:
            return
        yield told
        told = told.__cause__


def traceback_of(error: BaseException) -> str:
    """The whole traceback, as far as it can be had and is not endless."""
    try:
        text = safe_str("".join(traceback.format_exception(error)), 1 << 20)
    except Exception:  # noqa: BLE001 - users' exceptions are asked for their texts
        text = f"{type(error).__name__}, whose traceback cannot be had"
    cut = len(text) > _LONGEST_TRACEBACK
    return "..." + text[-_LONGEST_TRACEBACK:] if cut else text
