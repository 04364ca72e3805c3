"""TorchServe's text form of metrics, which no library writes any more; dashboards and scripts read it.

Prometheus' text format 0.0.4 with a comma after the last label, counters under the names they were given,
and values as Java prints them. Pure: families in, text out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torchkeeper.metrics.java import java_double
from torchkeeper.metrics.registry import Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Iterable[Family], names: Collection[str] = ()) -> str:
    """The text of /metrics.

    Args:
        families: the metrics.
        names: only the samples of these names, or all samples of a metric of such a name; empty: everything.
    """
    lines: list[str] = []
    for family in families:
        whole = not names or family.name in names
        samples = [sample for sample in family.samples() if whole or sample[0] in names]
        if not whole and not samples:
            continue
        lines.append(f"# HELP {family.name} {_escape_help(family.text)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for name, labels, value in samples:
            inner = "".join(f'{label}="{_escape(text)}",' for label, text in labels)
            lines.append(
                f"{name}{{{inner}}} {java_double(value)}" if inner else f"{name} {java_double(value)}"
            )
    return "\n".join(lines) + "\n" if lines else ""


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape(text: str) -> str:
    return _escape_help(text).replace('"', '\\"')
