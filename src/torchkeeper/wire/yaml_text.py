"""YAML that somebody wrote: what it holds, or one sentence. Pure; PyYAML reads it."""

from __future__ import annotations

import yaml


def read_yaml(text: str | bytes) -> object:
    """What a text holds, of plain types.

    Raises:
        ValueError: it is no YAML. Of a value that is not what its tag says (`!!int ''`) PyYAML raises
            whatever comes up; that is this error too.
    """
    try:
        return yaml.safe_load(text)
    except Exception as error:  # noqa: BLE001 - see above
        said = str(error) if isinstance(error, yaml.YAMLError | RecursionError | ValueError) else repr(error)
        raise ValueError(" ".join(said.split())) from None
