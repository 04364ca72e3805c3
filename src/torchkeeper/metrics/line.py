"""The text form of metrics that old handlers print: `[METRICS]Name.Unit:1.0|#Label:value|#type:GAUGE|#...`.

Pure: a line in, a Sample out, and back. Source of the grammar: the pattern with which TorchServe reads its
workers.
"""

from __future__ import annotations

import math
import re

from torchkeeper.wire.messages import Sample

PREFIX = "[METRICS]"

_LINE = re.compile(
    r"""\s*(?P<name>[\w\s]+)\.(?P<unit>[\w\s]+):(?P<value>[0-9\-+,.e]+)
        \|\#(?P<dimensions>[^|]*)
        (?:\|\#type:(?P<type>[^|,]+))?
        \|\#hostname:[^,]+,[^,]+(?:,(?P<request>.*))?""",
    re.ASCII | re.VERBOSE,
)
_TYPES = ("COUNTER", "GAUGE", "HISTOGRAM")


def parse_line(line: str) -> Sample | None:
    """The sample of a line that begins with PREFIX; None if the line is not well-formed.

    A dimension that is not exactly `name:value` is skipped. A line of the oldest form has no type: a gauge.
    """
    found = _LINE.fullmatch(line.removeprefix(PREFIX).rstrip("\r\n"))
    if found is None:
        return None
    try:
        value = float(found["value"])
    except ValueError:
        return None
    kind = found["type"] or "GAUGE"
    if not math.isfinite(value) or kind not in _TYPES:
        return None
    pairs = (tuple(pair.split(":")) for pair in found["dimensions"].split(","))
    dimensions = tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2)
    return Sample(found["name"], value, found["unit"], kind, dimensions, found["request"] or "")


def metric_line(sample: Sample, hostname: str, moment: float) -> str:
    """The line that says a sample, taken at `moment` (seconds since 1970)."""
    dimensions = ",".join(f"{name}:{value}" for name, value in sample.dimensions)
    request = f",{sample.request_id}" if sample.request_id else ""
    return (
        f"{PREFIX}{sample.name}.{sample.unit}:{sample.value}|#{dimensions}|#type:{sample.type}"
        f"|#hostname:{hostname},{int(moment)}{request}"
    )
