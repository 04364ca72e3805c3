"""A file that may hold pickles: what is told of it, without loading it, is always told."""

from __future__ import annotations

import io
import pickle
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from targets.target import Target
from torchkeeper.doctor.pickles import pickled_names, scan_file

_MEMORY = Path("/dev/shm")


def run(data: bytes) -> None:
    """The bytes are a file's."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "m.pt"
        path.write_bytes(data)
        scan = scan_file(path)
        assert scan.refused or not scan.why.startswith("it holds ")
        named = pickled_names(path)
        if named is not None:
            assert set(named.refused) <= set(named.names)


class Called:
    """Something that calls a function when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("called",)


def seeds() -> Iterator[bytes]:
    weights = OrderedDict(a=[1, 2.5, None, True], b=({"c": "d"}, 1 << 70, b"x", {1}))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in (weights, Called()):
            data = pickle.dumps(value, protocol)
            yield data
            for name in ("m/data.pkl", "constants.pkl", "other.pkl"):
                yield zipped(name, data)
    legacy = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}, weights, ["0"])]
    yield b"".join(legacy)


def zipped(name: str, data: bytes) -> bytes:
    """A zip file with one file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr(name, data)
    return target.getvalue()


TARGET = Target(run, seeds)
