"""Finds a model's entry point and initialises it: TorchServe's rules for handlers, in a worker.

User files are found by TorchServe's rule (what the module can call, else its class); built-in handlers and
envelopes by our own tables, because a re-exported class does not count as the module's own. Late imports
live here: only the handler that a model names is loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torchkeeper import TORCHSERVE_VERSION
from torchkeeper.envelope.envelope import ENVELOPES, KSERVE_V2, envelope_class
from torchkeeper.handler.builtin import BUILTIN
from torchkeeper.handler.context import Context
from torchkeeper.handler.helpers import import_file
from torchkeeper.handler.json_text import answers
from torchkeeper.handler.recorder import Recorder
from torchkeeper.wire.advice import nearest
from torchkeeper.wire.entry_point import DEFAULT_FUNCTION, HandlerText, handler_classes, read_handler_text
from torchkeeper.wire.execution import Execution
from torchkeeper.wire.features import ASYNCHRONOUS, missing_handler
from torchkeeper.wire.messages import ModelSpec
from torchkeeper.worker import late_compiler
from torchkeeper.worker.blame import Blame
from torchkeeper.worker.collection import no_collection
from torchkeeper.worker.service import Entry, Service
from torchkeeper.worker.together import find_together
from torchkeeper.worker.warm_up import rehearse, samples, sizes_to, warm


class HandlerNotFound(ValueError):
    """The handler text names nothing that can be called; the message says what was looked for."""


@dataclass(frozen=True)
class Imported:
    """A handler as its text names it, and its module; None: it is one of the built-in ones."""

    handler: HandlerText
    module: ModuleType | None


def enter(spec: ModelSpec) -> None:
    """Goes to the model's folder, whose modules come before others of their names from now on."""
    os.chdir(spec.model_dir)
    _look_in(read_handler_text(spec.handler).folders(Path(spec.model_dir)))


def import_handler(spec: ModelSpec) -> Imported:
    """Imports the module of the model's handler, in the model's folder.

    Raises:
        HandlerNotFound: there is no such module.
        Exception: whatever the user's module raises.
    """
    enter(spec)
    if spec.max_image_pixels is not None:
        _bound_pixels(spec.max_image_pixels)
    late_compiler.install()
    with no_collection():
        return _imported(spec.handler, Path(spec.model_dir))


def import_model_file(spec: ModelSpec, imported: Imported) -> None:
    """Imports the file of the model's class ahead of BaseHandler's `initialize`, which finds it imported.

    A handler's own `initialize` may do so by another rule, or not at all. What fails here fails there again,
    and is told then.
    """
    file = (spec.manifest.get("model") or {}).get("modelFile")
    if not file or not _loads_model_files(imported):
        return
    source = Path(spec.model_dir, file)
    try:
        importlib.import_module("torchkeeper.handler.weights").model_module(source)
    except (Exception, SystemExit):  # noqa: BLE001 - user code
        sys.modules.pop(source.stem, None)


def _loads_model_files(imported: Imported) -> bool:
    base = getattr(sys.modules.get("torchkeeper.handler.base"), "BaseHandler", None)
    if imported.module is None:
        classes = [_builtin_class(imported.handler.module)]
    else:
        named = getattr(imported.module, imported.handler.function, None)
        classes = [named] if isinstance(named, type) else _own_classes(imported.module)
    return base is not None and any(base in one.__mro__ and _initialised_here(one) for one in classes)


def _initialised_here(handler: Any) -> bool:
    return str(getattr(handler.initialize, "__module__", "")).startswith("torchkeeper.")


def _imported(text: str, model_dir: Path) -> Imported:
    handler = read_handler_text(text)
    module = _user_module(handler, model_dir)
    if module is None:
        _builtin_class(handler.module)
    return Imported(handler, module)


def load(spec: ModelSpec, max_response_size: int, imported: Imported | None = None) -> Service:
    """The model's service, in its folder: the handler initialised, `execution` applied, and warm.

    Args:
        imported: its handler, where that is imported already.

    Raises:
        HandlerNotFound: no such module, function or class.
        NotRunnable: the model or the machine cannot do what `execution` asks for.
        WarmUpFailed: the model does not answer the samples that the archive brings.
        Exception: whatever the user's module or its initialize raises.
    """
    if imported is None:
        imported = import_handler(spec)
    else:
        os.stat(spec.model_dir)  # the folder may be gone since
    answers.nan = spec.nan_in_answers
    recorder = Recorder(spec.name)
    recorder.declare(spec.metrics)
    recorder.set_request_ids(str(uuid.uuid4()))  # what `initialize` records is the model's, as in TorchServe
    context = Context(
        spec.name,
        spec.model_dir,
        spec.manifest,
        spec.batch_size,
        spec.gpu_id,
        TORCHSERVE_VERSION,
        limit_max_image_pixels=spec.limit_max_image_pixels,
        metrics=recorder,
        model_yaml_config=spec.model_config,
    )
    context.unpacked = spec.unpacked
    context.compile_cache = spec.compile_cache
    context.compile_cache_max_bytes = spec.compile_cache_max_bytes
    entry = _initialised_entry(imported, context)
    applied = _applied(spec.execution, entry, context)
    _wish(spec.wished, entry, context)
    service = Service(
        _Entries(entry, spec.envelope),
        context,
        decode=spec.decode_input_request,
        max_response_size=max_response_size,
        split=spec.split_failed_batches,
        patience=spec.response_timeout,
        blame=Blame(Path(spec.model_dir), spec.ignored_requirements),
    )
    _warm(service, spec, applied, context)
    return service


def _applied(wanted: Execution, entry: Entry, context: Context) -> Any:
    """What was applied (`handler.execution.Applied`); None where nothing is, and torch is not imported."""
    if not wanted.applies:
        return None
    variants = importlib.import_module("torchkeeper.handler.execution")
    applied = variants.apply(wanted, getattr(entry, "__self__", None), context)
    context.execution = applied.said
    return applied


def _wish(wanted: Execution, entry: Entry, context: Context) -> None:
    """Applies what the operator wishes for models of torch's, as far as this one can."""
    if wanted.applies and "torch" in sys.modules:
        variants = importlib.import_module("torchkeeper.handler.execution")
        context.execution = variants.wish(wanted, getattr(entry, "__self__", None), context)


def _warm(service: Service, spec: ModelSpec, applied: Any, context: Context) -> None:
    """Compiles what is compiled from samples, and warms up with them.

    Raises:
        NotRunnable: the model or the machine cannot do what `execution` asks for.
        WarmUpFailed: samples are missing, or not answered.
    """
    given = samples(spec.execution, Path(spec.model_dir), needed=spec.auto_batches)
    if applied is not None and applied.waits:
        rehearse(service, given, spec.batch_size, applied.waits)
    begin, most = time.perf_counter(), spec.batch_size

    def run() -> None:
        if spec.auto_batches:
            service.together = find_together(service, given, most)
        elif given:
            warm(service, given, most)

    if applied is None:
        run()
    else:
        applied.warmed_by(run)
        service.watch_uncompiled(lambda: applied.uncompiled)
    if service.together is not None:
        most = service.together.most
    if given:
        seconds = round(time.perf_counter() - begin, 3)
        said = {"samples": len(given), "batches": sizes_to(most), "seconds": seconds}
        context.execution |= {"warmup": said}
        if applied is not None:
            applied.check_used()


def _bound_pixels(limit: int) -> None:
    """Bounds what Pillow decodes in this process, where it is installed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("torchkeeper.handler.pixels").bound_pixels(limit)


def entry_point(handler: str, model_dir: Path, context: Context, envelope: str | None) -> Entry:
    """A handler's entry point, initialised, in an envelope; raises as `load` does."""
    return _Entries(_initialised_entry(_imported(handler, model_dir), context), envelope)[None]


def _initialised_entry(imported: Imported, context: Context) -> Entry:
    handler, module = imported.handler, imported.module
    if module is None:
        return _instance(_builtin_class(handler.module), context)
    found: Any = getattr(module, handler.function, None)
    if isinstance(found, type):
        return _instance(found, context)
    if callable(found):
        _refuse_asynchronous(found, handler.function)
        found(None, context)
        return cast(Entry, found)
    return _instance(_own_class(module, handler.function), context)


def _look_in(wanted: Iterable[Path]) -> None:
    folders = [str(folder) for folder in wanted if folder.is_dir()]
    sys.path[:] = folders + [entry for entry in sys.path if entry not in folders]


def _user_module(handler: HandlerText, model_dir: Path) -> ModuleType | None:
    """The module of the archive or of the folder that the text names, or an installed one; None: neither."""
    _look_in(handler.folders(model_dir))
    path = handler.file(model_dir)
    if path is not None:
        return import_file(path)  # the template may have imported another module of the same name
    if handler.module in BUILTIN:
        return None
    try:
        return importlib.import_module(handler.module)
    except ModuleNotFoundError as error:
        if error.name == handler.module:
            return None
        raise


def _own_classes(module: ModuleType) -> list[type]:
    """The classes that the module itself defines."""
    name = module.__name__
    return [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == name]


def _own_class(module: ModuleType, function: str) -> type:
    """The handler class that the module itself defines: the only one, else the only one with `handle`."""
    own = _own_classes(module)
    found = handler_classes(own, lambda one: callable(getattr(one, DEFAULT_FUNCTION, None)))
    if len(found) != 1:
        raise HandlerNotFound(
            f"Expected only one class in custom service code or a function entry point {found or own}; "
            f"{module.__name__} needs a function {function}(data, context) or one class with a handle method"
        )
    return found[0]


def _builtin_class(name: str) -> type:
    target = BUILTIN.get(name)
    if target is None:
        if missing := missing_handler(name):
            raise HandlerNotFound(missing.sentence)
        raise HandlerNotFound(
            f"handler {name!r} is neither a module of the archive nor one of the built-in handlers: "
            + ", ".join(sorted(BUILTIN))
            + nearest(name, BUILTIN)
        )
    module, _, attribute = target.partition(":")
    found: type = getattr(importlib.import_module(module), attribute)
    return found


def _refuse_asynchronous(entry: Any, name: str) -> None:
    call = entry if inspect.isroutine(entry) or isinstance(entry, partial) else type(entry).__call__
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        raise HandlerNotFound(ASYNCHRONOUS.asked_by(f"async def {name}"))


def _instance(handler_class: type, context: Context) -> Entry:
    handler: Any = handler_class()
    for required in ("initialize", "handle"):
        if not callable(getattr(handler, required, None)):
            raise HandlerNotFound(f"class {handler_class.__name__} has no method {required}")
        _refuse_asynchronous(getattr(handler, required), f"{handler_class.__name__}.{required}")
    handler.initialize(context)
    handle: Entry = handler.handle
    return handle


class _Entries(dict[str | None, Entry]):
    """An entry point by envelope; None: in the model's own. Envelopes are made when they are first asked for.

    Raises:
        HandlerNotFound: there is no envelope of that name.
    """

    def __init__(self, entry: Entry, default: str | None) -> None:
        self._entry = entry
        handler = getattr(entry, "__self__", None)
        #: Whether the handler wants whole requests of KServe v2.
        self._whole = getattr(handler, "whole_requests", False) is True
        if self._whole and default is None and getattr(handler, "kserve_v2_by_default", False) is True:
            default = KSERVE_V2
        super().__init__({None: entry if default is None else self[default]})

    def __missing__(self, name: str | None) -> Entry:
        if name not in ENVELOPES:
            known = ", ".join(sorted(ENVELOPES))
            raise HandlerNotFound(
                f"service_envelope {name!r} is not one of {known}{nearest(str(name), ENVELOPES)}"
            )
        wrapped: Entry = envelope_class(name, whole_requests=self._whole)(self._entry).handle
        self[name] = wrapped
        return wrapped
