"""Compiled code that is kept: this alone knows the folder's paths and keys, who writes and what is believed.

What lies there is executed by whoever reads it. So the folder is this user's alone (mode 0700), or nothing
is read from it and nothing kept. In it there is one folder for each key, made elsewhere and renamed, so that
nobody reads half of one; of those who want the same key at once one compiles, and the others wait for it. A
package whose digest is not the one beside it is damaged, and made anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch

from torchkeeper import __version__
from torchkeeper.machine.hardware import processor_features
from torchkeeper.machine.ownership import own_folder
from torchkeeper.machine.scratch import new_folder

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The end of the name of the file beside what is kept, with its digest.
_DIGEST = ".sha256"
#: The end of the name of an entry's lock, which is removed with the entry alone, by whoever has it.
_LOCK = ".lock"
#: Seconds after which what nobody has read is removed, when something else is kept.
_UNUSED = 30 * 24 * 3600.0
#: What this module writes: entries, their locks, and what becomes entries. All else in the folder is others'.
_OURS = re.compile(r"[0-9a-f]{64}(\.lock)?|\.[0-9a-f]{64}-.+")
_ENTRY = re.compile(r"[0-9a-f]{64}")
#: Folders of an archive that say nothing of what is computed.
_BESIDE = ("MAR-INF", "__pycache__")
#: A file in each virtual environment (PEP 405); it and many others there name the folder that they lie in.
_ENVIRONMENT = "pyvenv.cfg"
#: Attributes that all layers have, of which none is an option of theirs.
_EVERY_LAYERS = frozenset(vars(torch.nn.Module()))
#: Values of a layer's attributes that are the same wherever they are written the same.
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


class CompileCache:
    """The cache, as the worker of one model uses it."""

    def __init__(
        self,
        folder: Path,
        model_dir: Path,
        left_out: Collection[str] = (),
        max_bytes: int | None = None,
    ) -> None:
        """
        Args:
            folder: where the code is kept; it is made when it is first needed.
            model_dir: the model's folder, whose files count as its code.
            left_out: of them those that do not: its configuration, and its weights, which count as loaded.
            max_bytes: that the folder's entries may have; None: any number.
        """
        self._folder = folder
        self._model_dir = model_dir
        self._left_out = left_out
        self._max_bytes = max_bytes

    def key(self, model: Any, call: object) -> str | None:
        """What compiled code is kept under: all that it depends on; None: that cannot be said.

        Args:
            model: the module that is compiled, with the weights that it has now.
            call: of the call that it is compiled from: form, options, shapes. Its `repr` counts.
        """
        digest = hashlib.sha256()
        about = {
            "torchkeeper": __version__,
            "torch": (torch.__version__, torch.version.git_version),
            "python": sys.version_info[:2],
            "machine": platform.machine(),
            "processor": sorted(processor_features() or ()),
            "threads": torch.get_num_threads(),
            "call": repr(call),
        }
        try:
            digest.update(json.dumps(about).encode())
            _add_files(digest, self._model_dir, self._left_out)
            _add_model(digest, model, str(self._model_dir))
        except (OSError, _Unknown) as error:
            logger.warning("Compiled code is not kept: %s", error)
            return None
        return digest.hexdigest()

    def obtained(
        self,
        key: str | None,
        read: Callable[[Path], T | None],
        build: Callable[[], tuple[T, Path]],
        name: str = "package.pt2",
    ) -> T:
        """What is kept under a key; compiled and kept, where it is not there or cannot be used.

        Whoever finds another one compiling waits for that one.

        Args:
            key: as `key` says.
            read: makes what is wanted of a package's file; None: the file is of no use.
            build: makes it anew, with the file that is to be kept.
            name: that file's in the cache.
        """
        if key is None:
            return build()[0]
        with ExitStack() as stack:
            try:
                place = stack.enter_context(own_folder(self._folder))
                kept, lock = place / key / name, _lock_of(place / key)
                with _in_use(lock):
                    if (found := _read(kept, read)) is not None:
                        return found
                stack.enter_context(_locked(lock))
                if (found := _read(kept, read)) is not None:
                    return found
            except OSError as error:
                logger.warning("Compiled code is not kept, this worker compiles for itself: %s", error)
                return build()[0]
            made, package = build()
            try:
                _keep(package, kept)
            except OSError as error:
                logger.warning("Compiled code is not kept: %s", error)
            try:  # also where there was no room for it
                _forget_unused(place)
                if self._max_bytes is not None:
                    _forget_beyond(place, self._max_bytes)
            except OSError as error:
                logger.warning("Compiled code that was kept before could not be removed: %s", error)
            return made


# --- what lies in the folder -----------------------------------------------------------------------------


def _read(package: Path, read: Callable[[Path], T | None]) -> T | None:
    """What is made of an entry; None where there is none that can be used, and what is there says so."""
    entry = package.parent
    try:
        with package.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found.encode() != _digest(package).read_bytes():
            logger.warning("Compiled code that was kept is damaged, and is made anew: %s", entry.name)
            return None
        with contextlib.suppress(OSError):  # a folder that came with an image may be for reading alone
            os.utime(entry)
    except FileNotFoundError:
        return None
    made = read(package)
    if made is not None:
        logger.info("Compiled code was kept: %s", entry.name)
    return made


@contextlib.contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """The only one who compiles for a key; waits for another one, whom its own time to start bounds.

    Args:
        how: as `flock` has it.

    Raises:
        OSError: it cannot be had; at once, where `how` says so.
    """
    access = os.O_RDONLY if how & fcntl.LOCK_SH else os.O_RDWR
    while True:
        # An unlocked file is nobody's: whoever had it may have removed it, and another one has a new one.
        with open(os.open(path, access | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb") as file:
            fcntl.flock(file, how)
            if not _is_at(file.fileno(), path):
                continue
            yield
            return


def _is_at(opened: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), path.lstat())
    except FileNotFoundError:
        return False


def _digest(package: Path) -> Path:
    return package.with_name(package.name + _DIGEST)


@contextlib.contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """A time in which an entry is not removed; where it can have no lock it is for reading alone."""
    with ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(_locked(path, fcntl.LOCK_SH))
        yield


def _keep(made: Path, package: Path) -> None:
    entry = package.parent
    scratch = new_folder(f".{entry.name}-", entry.parent)
    try:
        copy = scratch / package.name
        shutil.copyfile(made, copy)
        with copy.open("rb") as file:
            _digest(copy).write_text(hashlib.file_digest(file, "sha256").hexdigest())
        shutil.rmtree(entry, ignore_errors=True)
        scratch.rename(entry)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    logger.info("Compiled code is kept: %s", entry.name)


def _forget_unused(place: Path) -> None:
    """Removes what nobody has read for long, and what those left who were ended in the middle."""
    names = [path.name for path in place.iterdir() if _OURS.fullmatch(path.name)]
    for path in (place / name for name in names):
        if not _is_unused(path):
            continue
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != _LOCK or path.stem not in names:  # else it goes with its entry
            _forget(path.with_suffix(""))


def _is_unused(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime >= _UNUSED
    except FileNotFoundError:  # another one has removed it meanwhile
        return False


def _forget_beyond(place: Path, most: int) -> None:
    """Removes what was read longest ago until the entries have so many bytes; what is in use stays."""
    entries = [(*_about(path), path) for path in place.iterdir() if _ENTRY.fullmatch(path.name)]
    beyond = sum(size for _, size, _ in entries) - most
    for _, size, path in sorted(entries):
        if beyond <= 0:
            return
        if size and _forget(path):
            beyond -= size
            logger.info(
                "Compiled code is removed, for there is more than %d bytes of it: %s", most, path.name
            )


def _about(entry: Path) -> tuple[float, int]:
    """When an entry was read last, and its bytes; none of one that another has removed meanwhile."""
    try:
        return entry.lstat().st_mtime, sum(file.lstat().st_size for file in entry.iterdir())
    except FileNotFoundError:
        return 0.0, 0


def _forget(entry: Path) -> bool:
    """Removes an entry and its lock, or says that somebody makes or reads it."""
    lock = _lock_of(entry)
    try:
        with _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(entry, ignore_errors=True)
            lock.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    return True


def _lock_of(entry: Path) -> Path:
    return entry.with_name(entry.name + _LOCK)


# --- keys -------------------------------------------------------------------------------------------------


class _Unknown(Exception):
    """What a key would have to tell, and nobody can."""


def _add_files(digest: Any, folder: Path, left_out: Collection[str]) -> None:
    for place, folders, files in os.walk(folder):
        if _ENVIRONMENT in files:  # what was installed of the archive's requirements
            installed = Path(place).glob("lib/python*/site-packages/*.dist-info")
            _add(digest, sorted(path.name for path in installed))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name not in _BESIDE)
        for path in (Path(place, name) for name in sorted(files)):
            name = str(path.relative_to(folder))
            if name not in left_out and path.is_file():
                with path.open("rb") as file:
                    _add(digest, name, hashlib.file_digest(file, "sha256").hexdigest())


def _add_model(digest: Any, model: torch.nn.Module, folder: str) -> None:
    """Its layers, their classes, attributes and sources, and all tensors that they hold.

    Args:
        folder: where the archive was unpacked, which is another one each time: attributes may name it.
    """
    sources = set()
    for name, layer in model.named_modules():
        kind = type(layer)
        _add(digest, name, f"{kind.__module__}.{kind.__qualname__}", layer.training)
        sources.add(kind.__module__)
        own = {key: value for key, value in vars(layer).items() if key not in _EVERY_LAYERS}
        tensors = {**layer._parameters, **layer._buffers, **own}
        for key, value in sorted(tensors.items()):
            if isinstance(value, torch.Tensor):
                _add(digest, key, value.dtype, value.shape, value.stride(), value.requires_grad)
                _add_numbers(digest, value)
            else:
                _add(digest, key, _written(value).replace(folder, "."))
    for name in sorted(sources):
        file = getattr(sys.modules.get(name), "__file__", None)
        # torch's own are told by its version.
        if file is not None and name.partition(".")[0] != "torch" and os.path.isfile(file):
            _add(digest, name, hashlib.sha256(Path(file).read_bytes()).hexdigest())


def _add(digest: Any, *values: object) -> None:
    digest.update(repr(values).encode(errors="backslashreplace") + b"\n")


def _written(value: object) -> str:
    """An attribute's value; of objects the class alone: their files count, and the samples' answers agree."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_written(key)}: {_written(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_written, value)))}}}"
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if callable(value) and hasattr(value, "__qualname__"):  # a function of a layer's own choice
        return f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    return type(value).__qualname__


def _add_numbers(digest: Any, tensor: torch.Tensor) -> None:
    """Adds what a tensor holds, in the order of its rows; of one that is made of others, those.

    Raises:
        _Unknown: that is not numbers on the CPU.
    """
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        parts, about = _taken_apart(tensor)
        _add(digest, type(tensor).__qualname__, parts, about)
        for part in parts:
            _add_numbers(digest, getattr(tensor, part))
        return
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise _Unknown(f"the model holds a tensor of another kind ({tensor.layout}, {tensor.device.type})")
    plain = tensor.detach().contiguous()
    if size := plain.numel() * plain.element_size():
        # Not by NumPy, which has no bfloat16.
        digest.update((ctypes.c_char * size).from_address(plain.data_ptr()))


def _taken_apart(tensor: torch.Tensor) -> tuple[list[str], object]:
    """The names of the tensors that one of a class of its own is made of, and what else it is made of."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        raise _Unknown(f"the model holds a tensor of a class of its own ({type(tensor).__qualname__})")
    parts, about = flatten()
    return list(parts), about
