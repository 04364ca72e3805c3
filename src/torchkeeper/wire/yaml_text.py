"""YAML that somebody wrote: what it holds, or one sentence. Pure; PyYAML reads it."""

from __future__ import annotations

import yaml

#: Characters of a text, and values in it, those that aliases repeat counted each time: a few lines of aliases
#: of aliases stand for billions.
MAX_LENGTH, MAX_VALUES = 1 << 20, 100_000
#: Characters of a number: one of base 60 (`1:30`) takes time by the square of them.
_LONGEST_NUMBER = 1000
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_yaml(text: str | bytes) -> object:
    """What a text holds, of plain types.

    Raises:
        ValueError: it is no YAML, or too much of it. Of a value that is not what its tag says (`!!int ''`)
            PyYAML raises whatever comes up; that is this error too.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"it has more than {MAX_LENGTH} characters")
    try:
        return _read(text)
    except Exception as error:  # noqa: BLE001 - see above
        said = str(error) if isinstance(error, yaml.YAMLError | RecursionError | ValueError) else repr(error)
        raise ValueError(" ".join(said.split())) from None


def _read(text: str | bytes) -> object:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """The number of values that a node stands for; where it holds itself, once."""
    if node in known:
        return known[node]
    known[node] = 1
    found = 1
    if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
        raise ValueError(f"a number in it has more than {_LONGEST_NUMBER} characters")
    if isinstance(node, yaml.MappingNode):
        found += sum(_count(key, known) + _count(value, known) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        found += sum(_count(value, known) for value in node.value)
    if found > MAX_VALUES:
        raise ValueError(f"it stands for more than {MAX_VALUES} values")
    known[node] = found
    return found
