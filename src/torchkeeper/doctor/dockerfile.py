"""What becomes of a Dockerfile that was written for TorchServe, told instruction by instruction."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from torchkeeper.archive.store import SUFFIXES, stored_names
from torchkeeper.doctor.archives import examine_archive
from torchkeeper.doctor.commands import VARIABLES, WITH_ENVVARS, examine_command, examine_image
from torchkeeper.doctor.configuration import examine_properties
from torchkeeper.doctor.finding import Finding, Verdict

_SKIPPED = re.compile(r"\s*(?:#|$)")
_HEREDOC = re.compile(r"(?<!<)<<-?\s*[\"']?([A-Za-z_]\w*)[\"']?")
_KEY = re.compile(r"([a-z][a-z_]+)=([^\"'\s]+)")
_ARCHIVES = (*SUFFIXES, ".war")


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, name and arguments of each instruction; continued lines are one."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if _SKIPPED.match(line):
            continue
        whole = line.rstrip()
        while whole.endswith("\\"):
            begun = whole[:-1].rstrip()
            further = next((one.strip() for _, one in lines if not _SKIPPED.match(one)), "")
            whole = f"{begun} {further}" if further else begun
        if end := _HEREDOC.search(whole):
            for _, further in lines:
                if further.strip() == end[1]:
                    break
                whole += f"\n{further}"
        name, _, arguments = whole.strip().partition(" ")
        yield number, name.upper(), arguments.strip()


@dataclass
class _Image:
    """What the instructions so far put into the image."""

    folder: Path
    scratch: Path
    found: list[Finding] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    #: The keys of its config.properties.
    properties: list[str] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)

    def take(self, place: str, name: str, arguments: str) -> None:
        """One instruction more."""
        if name == "FROM":
            words = [word for word in arguments.split() if not word.startswith("--")]
            if words and words[0] not in self.stages:
                self.found.append(Finding(place, "FROM", *examine_image(words[0])))
            self.stages.update(words[2:3])
        elif name == "ENV":
            self.environ |= _variables(arguments)
        elif name in ("COPY", "ADD") and "--from" not in arguments:
            self._copied(place, arguments)
        elif name in ("RUN", "CMD", "ENTRYPOINT"):
            command = _command(arguments)
            self.found += [Finding(place, *check) for check in examine_command(command)]
            self._written(place, command)

    def _copied(self, place: str, arguments: str) -> None:
        """Configurations, archives and folders of archives are looked at, where they are beside the file."""
        words = [word for word in _command(arguments).split() if not word.startswith("--")]
        self.found += [Finding(place, *check) for check in examine_command(words[-1] if words else "")]
        for source in _beside(self.folder, words[:-1]):
            for archive in _archives(source):
                into = self.scratch / str(len(self.found))
                self.found += examine_archive(archive, examine_properties("", "", {})[1], into)
            if source.suffix == ".properties" and source.is_file():
                text = source.read_text(encoding="utf-8", errors="replace")
                self.found += self._configured(source.name, text)
            elif source.suffix == ".jar":
                self.found.append(
                    Finding(place, source.name, Verdict.IGNORED, "plug-ins in Java are not loaded")
                )

    def _written(self, place: str, command: str) -> None:
        """The keys that a command writes into a config.properties."""
        for part in re.split(r"&&|;", command.replace(r"\n", "\n")):
            line, arrow, file = part.partition(">")
            if arrow and file.strip(" >\"'").endswith(".properties"):
                text = "\n".join(f"{key}={value}" for key, value in _KEY.findall(line))
                self.found += [replace(one, place=place) for one in self._configured(place, text)]

    def _configured(self, where: str, text: str) -> list[Finding]:
        self.properties.append(text)
        return examine_properties(text, where, {})[0]

    def of_environment(self, where: str) -> list[Finding]:
        """What its variables do."""
        java = [name for name in self.environ if name.startswith(("JAVA_", "JDK_"))]
        found = [Finding(where, f"ENV {name}", Verdict.IGNORED, "there is no Java") for name in java]
        settings = {name: value for name, value in self.environ.items() if name in VARIABLES}
        text = "\n".join(self.properties)
        without = examine_properties(text, where, {})[0]
        counted = [one for one in examine_properties(text, where, settings)[0] if one not in without]
        if settings and not counted:
            counted = [Finding(where, f"ENV {name}", Verdict.IGNORED, WITH_ENVVARS) for name in settings]
        return found + counted


def examine_dockerfile(path: Path, scratch: Path) -> list[Finding]:
    """What becomes of it, and of the files beside it that it puts into the image."""
    image = _Image(path.parent, scratch)
    text = path.read_text(encoding="utf-8", errors="replace")
    for line, name, arguments in instructions(text):
        image.take(f"{path.name}:{line}", name, arguments)
    return image.found + image.of_environment(path.name)


def _command(arguments: str) -> str:
    """The words of exec form, or the line of shell."""
    try:
        words = json.loads(arguments)
    except ValueError:
        return arguments
    return " ".join(map(str, words)) if isinstance(words, list) else arguments


def _variables(arguments: str) -> dict[str, str]:
    try:
        words = shlex.split(arguments)
    except ValueError:
        return {}
    if words and "=" not in words[0]:
        return {words[0]: " ".join(words[1:])}
    return dict(word.partition("=")[::2] for word in words)


def _beside(folder: Path, sources: list[str]) -> Iterator[Path]:
    """The files that a COPY names; they lie in the Dockerfile's folder, wherever it is."""
    for source in (one.lstrip("/") for one in sources):
        if ".." not in source.split("/"):
            yield from sorted(folder.glob(source)) if set("*?[") & set(source) else [folder / source]


def _archives(source: Path) -> list[Path]:
    if source.name.endswith(_ARCHIVES) and source.exists():
        return [source]
    if source.is_dir():
        return [source / name for name in stored_names(source, _ARCHIVES) if name.endswith(_ARCHIVES)]
    return []
