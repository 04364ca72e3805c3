"""Findings as text: plain lines for pipes, a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from torchkeeper.doctor.finding import Finding, Verdict

_STYLES = {
    Verdict.WORKS: "green",
    Verdict.CHANGED: "yellow",
    Verdict.IGNORED: "cyan",
    Verdict.UNKNOWN: "magenta",
    Verdict.BROKEN: "bold red",
}


def lines(findings: Iterable[Finding]) -> list[str]:
    """One line per finding: verdict, place, thing, reason."""
    return [
        f"{finding.verdict.value:<13}  {finding.place}  {finding.what}"
        + (f": {finding.why}" if finding.why else "")
        for finding in findings
    ]


def summary(findings: Iterable[Finding]) -> str:
    """How many there are of each."""
    verdicts = [finding.verdict for finding in findings]
    return ", ".join(f"{verdicts.count(verdict)} {verdict.value}" for verdict in Verdict)


def show(findings: tuple[Finding, ...], console: Console) -> None:
    """Prints all findings, as a table where someone looks at it."""
    if console.is_terminal:
        table = Table("", "where", "what", "why", show_lines=False)
        for finding in findings:
            verdict = Text(finding.verdict.value, _STYLES[finding.verdict])
            table.add_row(verdict, Text(finding.place), Text(finding.what), Text(finding.why))
        console.print(table)
    else:
        for line in lines(findings):
            console.out(line, highlight=False)
    console.out(summary(findings), highlight=False)
