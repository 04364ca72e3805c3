"""Archives for the tests of examples, made by the command lines that their READMEs document."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from servers import BIN

#: Handlers as users write them, with their models' files.
HANDLERS = Path(__file__).parent / "handlers"


def archived(
    store: Path, name: str, handler: str, *options: str | Path, config: str = "", extra: Iterable[Path] = ()
) -> None:
    """`<name>.mar` in the model store.

    Args:
        handler: a file of `handlers/`, with or without `:function`, or the name of a built-in handler.
        options: what the command line has besides, such as `--model-file` and `--serialized-file`.
        config: the text of its model-config.yaml.
        extra: its extra files.
    """
    command: list[str | Path] = [
        BIN / "torch-model-archiver",
        *("--model-name", name, "--version", "1.0", "--export-path", store),
        *("--handler", HANDLERS / handler if ".py" in handler else handler, *options),
    ]
    if config:
        file = store.parent / f"{name}-config.yaml"
        file.write_text(config)
        command += ["--config-file", file]
    if files := ",".join(map(str, extra)):
        command += ["--extra-files", files]
    subprocess.run(command, check=True)


def imported(file: str) -> ModuleType:
    """A module of `handlers/`, so that tests can ask its model without a server."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, HANDLERS / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
