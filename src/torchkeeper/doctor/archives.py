"""What becomes of an archive: its manifest, its files, its source, its weights. None of its code is run."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from torchkeeper.archive.archive import Archive, Manifest, open_archive
from torchkeeper.archive.signatures import SignatureState, Verifier, beside
from torchkeeper.archive.store import name_of
from torchkeeper.config import batch_rules
from torchkeeper.config.model_config import KNOWN, parse_model_config
from torchkeeper.config.model_settings import RUNTIMES
from torchkeeper.config.table import Configured
from torchkeeper.doctor.finding import Finding, Verdict
from torchkeeper.doctor.imports import Import
from torchkeeper.doctor.lacking import examine_imports, unread
from torchkeeper.doctor.mlflow_model import examine_mlflow
from torchkeeper.doctor.none_call import fails_with_none
from torchkeeper.doctor.pickles import PickleKind, Scan, scan_file
from torchkeeper.doctor.source import SourceOutline, local_modules, missing_import, parse_source
from torchkeeper.errors import ArchiveError, SettingsError
from torchkeeper.handler.builtin import BUILTIN, SOURCE_VOCAB
from torchkeeper.handler.formats import (
    CODE,
    ENGINES,
    LIBRARY_ENDS,
    PICKLED_WEIGHTS,
    SAFE,
    TELLING,
    TENSORS_REFUSAL,
    TORCHSCRIPT_ENDS,
    code_remark,
    engine_refusal,
)
from torchkeeper.wire import features
from torchkeeper.wire.entry_point import (
    DEFAULT_FUNCTION,
    asynchronous_entry,
    handler_classes,
    read_handler_text,
)
from torchkeeper.wire.mlmodel import HANDLER

#: Keys of model-config.yaml that are not the server's but the handler's.
_HANDLER_KEYS = ("pt2", "handler", "micro_batching")
#: Keys that ask for something, or belong to one that does.
_ASKING = (*features.KEYS, "parallelType", *features.BELONGING)
#: Built-in handlers that load the model which the manifest names.
_LOADING = BUILTIN.keys() - {"sagemaker"}
#: Built-in handlers that read a vocabulary.
_COUNTING = ("text_classifier", "text_handler")
#: Files that handlers read with torch.load.
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def examine_archive(path: Path, setup: Configured, scratch: Path) -> list[Finding]:
    """All findings of one archive; a packed one is unpacked into the new folder `scratch`, and left there."""
    place = path.name
    if missing := features.missing_archive(place):
        return [Finding(place, missing.key, Verdict.IGNORED, missing.sentence)]
    signed, refused = _signature(path, setup)
    if refused:
        return signed
    try:
        archive = open_archive(path, scratch)
    except (ArchiveError, OSError) as error:
        why = str(error).removeprefix(f"{place}: ")
        return [*signed, Finding(place, "archive", Verdict.BROKEN, why)]
    found = [Finding(place, what, verdict, why) for what, verdict, why in _checks(archive, setup)]
    if any(finding.verdict is Verdict.BROKEN for finding in found):
        return [*signed, *found]
    manifest = archive.manifest
    why = f"{manifest.model_name or name_of(place)} version {manifest.model_version}"
    return [Finding(place, "archive", Verdict.WORKS, why), *signed, *found]


def _signature(path: Path, setup: Configured) -> tuple[list[Finding], bool]:
    """What `verify_models` says of an archive, and whether the server refuses it for that."""
    verifier = Verifier(setup)
    if not verifier.on:
        return [], False
    try:
        verifier.prepare()
    except SettingsError as error:
        return [Finding(path.name, "signature", Verdict.BROKEN, error.message)], True
    judged = verifier.judge(path, beside(path))
    if judged.state is SignatureState.VERIFIED:
        return [Finding(path.name, "signature", Verdict.WORKS, f"by {judged.told}")], False
    refused = setup.verify_models == "require"
    why = f"{judged.told}: verify_models={setup.verify_models}"
    return [Finding(path.name, "signature", Verdict.BROKEN if refused else Verdict.IGNORED, why)], refused


_Check = tuple[str, Verdict, str]


def _checks(archive: Archive, setup: Configured) -> Iterator[_Check]:
    manifest, folder = archive.manifest, archive.model_dir
    if missing := features.missing_runtime(manifest.runtime):
        yield missing.key, Verdict.BROKEN, missing.sentence
    elif manifest.runtime not in RUNTIMES:
        yield "runtime", Verdict.IGNORED, f"{manifest.runtime}: the handler is run by Python"
    if named := archive.raw_manifest.get("model", {}).get("envelope"):
        yield "envelope", Verdict.IGNORED, f"{named}: service_envelope in config.properties is the way"
    for what, name in (
        ("model file", manifest.model_file),
        ("serialized file", manifest.serialized_file),
        ("config file", manifest.config_file),
        ("requirements file", manifest.requirements_file),
    ):
        if name and not (folder / name).is_file():
            dispensable = what in ("config file", "requirements file")
            yield what, Verdict.IGNORED if dispensable else Verdict.BROKEN, f"{name} is not in the archive"
    handler = manifest.handler or setup.default_service_handler
    own = None
    if not handler:
        why = f"{archive.unhandled} Nor does default_service_handler name one"
        yield "handler", Verdict.BROKEN, why
    else:
        own, checks = _handler(handler, folder)
        yield from checks
        if own is None and not checks and handler in _LOADING and not _names_model(manifest):
            yield "handler", Verdict.BROKEN, f"{handler} loads a model, and the manifest names no file of one"
        elif own is None and handler == "tensors" and not _tells_its_inputs(manifest):
            yield "handler", Verdict.BROKEN, TENSORS_REFUSAL
        named = str(archive.raw_manifest.get("model", {}).get("sourceVocab") or SOURCE_VOCAB)
        if own is None and handler in _COUNTING and not (folder / named).is_file():
            yield "handler", Verdict.BROKEN, f"{handler} needs {named}, which is not in the archive"
    if own is None and handler == HANDLER:
        yield from examine_mlflow(archive, setup)
    else:
        yield from _imports(own, handler, archive, setup)
        yield from examine_weights(archive, own)
    if manifest.config_file and (folder / manifest.config_file).is_file():
        yield from examine_model_config((folder / manifest.config_file).read_bytes(), setup)


def _names_model(manifest: Manifest) -> bool:
    """Whether the manifest names any file of a model."""
    return bool(manifest.serialized_file or manifest.model_file)


def _tells_its_inputs(manifest: Manifest) -> bool:
    """Whether the model is a file alone that says what it takes; an engine is refused for what it is."""
    return not manifest.model_file and (manifest.serialized_file or "").endswith((*TELLING, *ENGINES))


# --- the handler ----------------------------------------------------------------------------------------


def _handler(text: str, folder: Path) -> tuple[Path | None, list[_Check]]:
    """The handler's file if it is the archive's own, and what is wrong with it."""
    handler = read_handler_text(text)
    files = local_modules(Import(handler.module, (), 0), folder)[1]  # a module in a package
    file = handler.file(folder) or (files[-1] if files else None)
    if file is not None:
        try:
            content = file.read_bytes()
            if entry := asynchronous_entry(content, handler.function):
                return file, [("handler", Verdict.BROKEN, features.missing_asynchronous(entry).sentence)]
            return file, _entry(parse_source(content), content, handler.function)
        except ValueError as error:
            verdict, why = unread(error)
            return file, [("handler", verdict, f"{file.name}: {why}")]
    name = handler.module
    if name in BUILTIN:
        return None, []
    if missing := features.missing_handler(name):
        return None, [(missing.key, Verdict.BROKEN, missing.sentence)]
    if missing_import(Import(name, (), 0)) is None:
        return None, []
    why = f"{name}.py is not in the archive, and nothing built in or installed"
    if handler.folder is not None and handler.folder.is_absolute():
        why = f"{handler.folder / name}.py is not on this machine, and {why}"
    return None, [("handler", Verdict.BROKEN, why)]


def _entry(source: SourceOutline, content: bytes, name: str) -> list[_Check]:
    if name in source.functions:
        line = fails_with_none(content, name)
        why = (
            f"{name} is called with None when the model is loaded, as in TorchServe, and fails (line {line})"
        )
        return [] if line is None else [("handler", Verdict.BROKEN, f"{why}: return first if data is None")]
    own = [one for one in source.classes if one.name == name] or source.classes
    sure = handler_classes(own, lambda one: DEFAULT_FUNCTION in one.methods)
    if len(sure) > 1:
        names = ", ".join(one.name for one in sure)
        return [("handler", Verdict.BROKEN, f"several classes with a method handle: {names}; keep one")]
    if not sure and not source.dynamic and not handler_classes(own, lambda one: one.has_bases or one.made):
        why = f"the handler's file has neither a function {name} nor a class with a method handle"
        return [("handler", Verdict.BROKEN, why)]
    whole = len(sure) == 1 and not (sure[0].has_bases or sure[0].made)
    if whole and not re.search(rb"\binitialize\b|__getattr", content):
        return [("handler", Verdict.BROKEN, f"class {sure[0].name} has no method initialize")]
    return []


def _imports(own: Path | None, handler: str | None, archive: Archive, setup: Configured) -> Iterator[_Check]:
    manifest, folder = archive.manifest, archive.model_dir
    start = {own: ""} if own else {}
    model_file = folder / manifest.model_file if manifest.model_file else None
    if model_file is not None and model_file.is_file():
        start.setdefault(model_file, "it is read only if the handler does" if _loads_itself(own) else "")
    initialized = None if own is None or _is_function(own, handler or "") else own
    folders = read_handler_text(handler or "").folders(folder)
    yield from examine_imports(start, initialized, folders, archive, setup)


def _is_function(own: Path, handler: str) -> bool:
    """Whether the entry point may be no class: nothing is sure to be initialised then."""
    try:
        return read_handler_text(handler).function in parse_source(own.read_bytes()).functions
    except ValueError:
        return True


# --- weights --------------------------------------------------------------------------------------------


def examine_weights(archive: Archive, own: Path | None) -> Iterator[_Check]:
    manifest, folder = archive.manifest, archive.model_dir
    ours = not _loads_itself(own)
    serialized = folder / manifest.serialized_file if manifest.serialized_file else None
    if serialized is not None and serialized.suffix in (*CODE, *ENGINES):
        yield from _foreign(serialized, ours, bool(manifest.model_file))
    elif serialized is not None and serialized.is_file():
        scan = scan_file(serialized)
        if manifest.model_file and scan.kind is PickleKind.TORCHSCRIPT and ours:
            why = f"{serialized.name} is TorchScript and no state dict: archive it without the model file"
            yield "serialized file", Verdict.BROKEN, why
        elif scan.kind is PickleKind.REFUSED:
            yield "serialized file", *_refused(serialized.name, scan.why, ours)
        elif not manifest.model_file and ours:
            yield from _whole(serialized, scan.kind)
        elif scan.kind is PickleKind.WEIGHTS and serialized.suffix != SAFE:
            why = f"{serialized.name} is a pickle, of weights alone: {PICKLED_WEIGHTS}"
            yield "serialized file", Verdict.WORKS, why
    for path in sorted(folder.rglob("*")):
        if path.suffix in CODE and path != serialized and path.is_file():
            name = path.relative_to(folder).as_posix()
            yield name, Verdict.WORKS, code_remark(path.name, path.suffix)
        elif path.suffix in _TORCH_SUFFIXES and path != serialized and path.is_file():
            scan = scan_file(path)
            if path.name == SOURCE_VOCAB and ours and _is_of_torchtext(scan):
                continue
            if scan.kind is PickleKind.REFUSED:
                yield path.relative_to(folder).as_posix(), *_refused(path.name, scan.why, False)


def _is_of_torchtext(scan: Scan) -> bool:
    """Whether it is a vocabulary as torchtext's classes were pickled, which TextHandler reads."""
    return bool(scan.refused) and all(name.startswith("torchtext.") for name in scan.refused)


def _refused(name: str, why: str, ours: bool) -> tuple[Verdict, str]:
    if ours:
        advice = "save the state dict with torch.save(model.state_dict(), path), or use .safetensors"
        return Verdict.BROKEN, f"weights_only refuses {name}: {why}; {advice}"
    advice = "the handler must load it with weights_only=False (torch 2.6 and later refuse it by default)"
    return Verdict.CHANGED, f"weights_only refuses {name}: {why}; {advice}"


def _foreign(path: Path, ours: bool, with_source: bool) -> Iterator[_Check]:
    """A model in no form of torch.save's; `ours`: BaseHandler would load it, with a model file or without."""
    if ours and with_source:
        why = f"{path.name} is a model and no state dict: archive it without the model file"
        yield "serialized file", Verdict.BROKEN, why
    elif path.suffix in ENGINES:
        if ours:
            yield "serialized file", Verdict.BROKEN, engine_refusal(path.name)
    elif ours and path.suffix == ".onnx" and importlib.util.find_spec("onnxruntime") is None:
        why = f"{path.name} needs onnxruntime: pip install torchkeeper[onnx]"
        yield "serialized file", Verdict.BROKEN, why
    else:
        yield "serialized file", Verdict.WORKS, code_remark(path.name, path.suffix)
        if ours and path.suffix == ".so":
            yield "serialized file", Verdict.WORKS, f"{path.name} is {LIBRARY_ENDS}"


def _whole(path: Path, kind: PickleKind) -> Iterator[_Check]:
    """A model without a model file, which BaseHandler would load."""
    if path.suffix == ".pt" and kind is PickleKind.TORCHSCRIPT:
        yield "serialized file", Verdict.WORKS, f"{path.name} is {TORCHSCRIPT_ENDS}"
    else:
        why = f"{path.name} is no TorchScript file (.pt); a state dict needs a model file"
        yield "serialized file", Verdict.BROKEN, why


def _loads_itself(own: Path | None) -> bool:
    """Whether the handler loads its model in its own way rather than in BaseHandler's."""
    if own is None:
        return False
    try:
        source = parse_source(own.read_bytes())
    except ValueError:
        return True
    if "handle" in source.functions and not source.classes:
        return True
    return any(
        "_load_pickled_model" in one.methods
        or "_load_torchscript_model" in one.methods
        or ("initialize" in one.methods and not one.calls_base_initialize)
        or not one.has_bases
        for one in source.classes
    )


# --- model-config.yaml ----------------------------------------------------------------------------------


def examine_model_config(content: bytes, setup: Configured) -> Iterator[_Check]:
    """What becomes of a model-config.yaml, key by key where there is something to say."""
    config, warnings = parse_model_config(content.decode(errors="replace"), "model-config.yaml")
    for warning in warnings:
        yield "config file", Verdict.IGNORED, warning.removeprefix("model-config.yaml").lstrip(": ")
    for sentence in config.refused:
        yield "config file", Verdict.BROKEN, sentence.removeprefix("model-config.yaml").lstrip(": ")
    said = config.values()
    cost, apart = said.get("batch_cost", batch_rules.ITEMS), said.get("batch_by")
    if (why := batch_rules.unreadable(cost, apart, setup.service_envelope)) is not None:
        yield "config file", Verdict.BROKEN, why
    missing = {one.key: one.sentence for one in features.missing_in_config(config.raw)}
    for key in config.raw:
        what = f"model-config.yaml {key}"
        if key in missing:
            yield what, Verdict.BROKEN, missing[key]
        elif belongs := features.BELONGING.get(key):
            why = f"it belongs to {belongs[0]}: torchkeeper does not have {belongs[1].name} yet"
            yield what, Verdict.IGNORED, why
        elif key not in (*KNOWN, *_HANDLER_KEYS, *_ASKING):
            near = difflib.get_close_matches(key, (*KNOWN, *_ASKING), n=1, cutoff=0.8)
            if near:
                yield what, Verdict.IGNORED, f"no key of TorchServe's; did you mean {near[0]}?"
            else:
                yield what, Verdict.WORKS, "no key of the server's; the handler gets it"
    for key, setting, holds in (
        ("responseTimeout", "default_response_timeout", setup.default_response_timeout),
        ("startupTimeout", "default_startup_timeout", setup.default_startup_timeout),
    ):
        if key not in config.raw and holds != 120:
            why = f"not named: {setting}={holds:g} holds (TorchServe: 120)"
            yield f"model-config.yaml {key}", Verdict.CHANGED, why
