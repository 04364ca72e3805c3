"""What a handler's code prints while it is imported and initialised: who leaves then has said why there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: Characters that are kept.
_KEPT = 2000


@contextmanager
def listening() -> Iterator[Callable[[], str]]:
    """Hears what is printed on its way; the callable is the last line that says something."""
    heard = ""

    def tell_of(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def told(text: Any) -> Any:
            nonlocal heard
            if isinstance(text, str):
                heard = (heard + text)[-_KEPT:]
            return write(text)

        return told

    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    for stream in streams:
        with suppress(AttributeError):
            stream.write = tell_of(stream.write)  # type: ignore[method-assign]
    try:
        yield lambda: next((line.strip() for line in reversed(heard.splitlines()) if line.strip()), "")
    finally:
        for stream in streams:
            with suppress(AttributeError):
                del stream.write
