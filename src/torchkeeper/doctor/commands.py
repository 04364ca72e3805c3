"""What becomes of command lines and images that were written for TorchServe. Pure; nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchkeeper.config.table import KEYS
from torchkeeper.doctor.finding import Verdict
from torchkeeper.wire import features

Check = tuple[str, Verdict, str]

#: Environment variables that may be settings, and when they are.
VARIABLES = frozenset(key.variable for key in KEYS if key.from_env and not key.always_env)
WITH_ENVVARS = "it counts only where config.properties says enable_envvars_config=true"

_COMMANDS = re.compile(r"[;&|\n]+")
_INSTALLS = re.compile(r"\b(?:pip3?|conda|mamba|uv)\b.*\b(?:un)?install\b")
_PACKAGES = re.compile(r"\b(?:torchserve|torch-(?:model|workflow)-archiver)\b")
_JAVA = re.compile(r"\b(?:openjdk[\w.-]*|default-j(?:re|dk)[\w-]*|java-\d[\w.-]*)")
_SERVER = re.compile(r"org\.pytorch\.serve\.ModelServer|model-server\.jar")
_OWN_FILES = re.compile(r"\S*(?:site|dist)-packages/(?:ts|model_archiver)/\S*")
_ARCHIVER = re.compile(r"\btorch-model-archiver\b(.*)")
_ARCHIVER_FLAGS = re.compile(r"--(handler|runtime)[= ]+[\"']?([\w./:-]+)")
_TORCHSERVE = re.compile(r"(?:^|[\s(/])(torchserve|multi-model-server)\s+(-.*)")
#: Flags of `torchserve` that do not do what they did.
_FLAGS = {
    "--plugins-path": (Verdict.IGNORED, "plug-ins in Java are not loaded"),
    "--ppath": (Verdict.IGNORED, "plug-ins in Java are not loaded"),
    "--cpp-log-config": (Verdict.IGNORED, "there is no C++ back end"),
    "--workflow-store": (Verdict.IGNORED, "there are no workflows"),
    "--log-config": (Verdict.CHANGED, "it is read for levels; docs/logs.md says what else"),
}

_REPLACED = (
    "use torchkeeper's image in its place (docs/docker.md): user, home, ports and entry script are the same"
)
#: Images with TorchServe in them, and what to do.
_IMAGES = (
    (re.compile(r"(?:docker\.io/)?pytorch/torchserve-kfs\b"), f"KServe's image of TorchServe: {_REPLACED}"),
    (re.compile(r"(?:docker\.io/)?pytorch/torchserve\b"), f"TorchServe's image: {_REPLACED}"),
    (
        re.compile(r"\S+/vertex-ai/prediction/pytorch-"),
        "Vertex AI's prebuilt image: put torchkeeper's in its place (docs/platforms/vertex-ai.md)",
    ),
    (
        re.compile(r"\S*\.dkr\.ecr\.\S+/(?:huggingface-)?pytorch-inference\b"),
        "SageMaker's image: install torchkeeper over torchserve in it (docs/platforms/sagemaker.md)",
    ),
)


def examine_image(image: str) -> tuple[Verdict, str]:
    """Whether an image has TorchServe in it."""
    for pattern, why in _IMAGES:
        if pattern.match(image):
            return Verdict.CHANGED, f"{image}: {why}"
    return Verdict.WORKS, f"{image}: none of TorchServe's that is known here"


def examine_command(text: str) -> Iterator[Check]:
    """What is to be said of a line of shell."""
    for command in _COMMANDS.split(text):
        for found in dict.fromkeys(_JAVA.findall(command)):
            yield "Java", Verdict.IGNORED, f"{found} is not needed"
        if found := _SERVER.search(command):
            why = (
                f"{found[0]} is TorchServe's server in Java; start torchserve instead, which takes its place"
            )
            yield "command", Verdict.BROKEN, why
        for found in dict.fromkeys(_OWN_FILES.findall(command)):
            yield "files", Verdict.IGNORED, f"{found}: nothing here reads files of TorchServe's own package"
        if _INSTALLS.search(command):
            if _PACKAGES.search(command):
                why = (
                    "torchkeeper takes the place of torchserve and the archivers: all own the import name ts"
                )
                yield "packages", Verdict.CHANGED, why
        elif "torch-workflow-archiver" in command:
            yield "command", Verdict.BROKEN, features.WORKFLOWS.asked_by("torch-workflow-archiver")
        elif made := _ARCHIVER.search(command):
            yield _archived(made[1])
        elif started := _TORCHSERVE.search(command):
            yield from _started(started[1], started[2])


def _started(name: str, flags: str) -> list[Check]:
    said = [(flag, *_FLAGS[flag]) for flag in re.findall(r"--[\w-]+", flags) if flag in _FLAGS]
    return said or [(name, Verdict.WORKS, "")]


def _archived(flags: str) -> Check:
    asked = dict(_ARCHIVER_FLAGS.findall(flags))
    missing = features.missing_handler(asked.get("handler", ""))
    missing = missing or features.missing_runtime(asked.get("runtime", ""))
    if missing is None:
        return "torch-model-archiver", Verdict.WORKS, ""
    return "torch-model-archiver", Verdict.BROKEN, missing.sentence
