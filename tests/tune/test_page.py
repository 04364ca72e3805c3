"""The report: one page that needs nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from measuring import SUBJECT  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.tune.candidates import Candidate
from torchkeeper.tune.choosing import FULL
from torchkeeper.tune.cost import BatchCost
from torchkeeper.tune.page import Point, front, page
from torchkeeper.tune.results import (
    CandidateOut,
    LoadKind,
    Measurement,
    TuneResults,
    VariantCost,
    Winner,
)
from torchkeeper.wire.execution import Execution

WON, OTHER, OUT = (Candidate(batch_size=n) for n in (16, 4, 1))


def at(candidate: Candidate, rate: float, p99: float | None, load: LoadKind = FULL) -> Measurement:
    return Measurement(candidate, load, 0, rate, 0.0, {"50": 0.01, "99": p99}, 50_000_000, 0.25, 0.001, 3)


class Elements(HTMLParser):
    """Which elements there are, and that each that was opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_all_that_was_measured_and_loads_nothing() -> None:
    made = TuneResults(
        SUBJECT,
        costs=[
            VariantCost(Execution(threads=1), BatchCost(0.0001, 0.0005), (), 1.5, 10**8),
            VariantCost(Execution(threads=1, dtype="bfloat16"), out="no instructions"),
        ],
        measurements=[
            *(at(WON, 400.0, 0.2), at(WON, 90.0, 0.02, LoadKind(1)), at(OTHER, 100.0, 0.5)),
            *(at(OTHER, 100.0, None, LoadKind(64, 0.8)), at(OUT, 999.0, 0.1)),
        ],
        outs=[CandidateOut(OUT, "<b>'7' became '8'</b>")],
        remarks=["compiled was not tried"],
        winner=Winner(WON),
    )
    text = page(made, ["It won & was <fast>"])
    found = Elements(text)
    assert not found.open
    assert not re.search(r"https?:|src=|<script|<link|@import|url\(", text)
    assert "It won &amp; was &lt;fast&gt;" in text
    assert "&lt;b&gt;" in text
    assert "999" not in text
    assert "25%" in text  # the load's own share
    assert "open at 80%" in text
    circles = [attrs for tag, attrs in found.found if tag == "circle"]
    assert [attrs["class"] for attrs in circles].count("won") == 3
    assert len(circles) == 3 + 2  # with a p99, and at all connections
    assert len([tag for tag, _ in found.found if tag == "svg"]) == 2


def test_without_measurements_there_is_still_a_page() -> None:
    assert not Elements(page(TuneResults(SUBJECT), ["No winner"])).open


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100))))
def test_nobody_on_the_front_is_beaten_and_all_others_are(pairs: list[tuple[float, float]]) -> None:
    points = [Point(WON, FULL, rate, cost, "") for rate, cost in pairs]
    found = front(points)
    for one in points:
        beaten = any(
            (other.rate >= one.rate and other.cost <= one.cost)
            and (other.rate > one.rate or other.cost < one.cost)
            for other in points
        )
        assert beaten != (one in found)
