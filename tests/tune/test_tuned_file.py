"""The text of the model-config.yaml that was found."""

from __future__ import annotations

import msgspec
import yaml
from hypothesis import given
from hypothesis import strategies as st
from measuring import SUBJECT  # type: ignore[import-not-found]  # pytest puts this folder on the path

from torchkeeper.config.model_config import parse_model_config
from torchkeeper.tune.candidates import BATCHES, DEFAULT_POLICY, POLICIES, Candidate, plainer
from torchkeeper.tune.choosing import FULL, best, standings
from torchkeeper.tune.results import CandidateOut, Measurement, TuneResults
from torchkeeper.tune.tuned_file import MARK, tuned_for, tuned_text, worths
from torchkeeper.wire.execution import Execution

WON = Candidate(execution=Execution(threads=1, memory_format="channels_last"), workers=2, batch_size=16)


#: What differs in more than one thing tells nothing of any.
UNLIKE: tuple[tuple[Candidate, dict[str, object]], ...] = (
    (
        WON,
        {"workers": 1, "policy": "greedy", "execution": Execution(threads=2, memory_format="channels_last")},
    ),
    (WON, {"workers": 1, "policy": "delay", "delay": 1}),
    (WON, {"workers": 1, "execution": Execution(threads=2)}),
)


def at(candidate: Candidate, rate: float, round_: int = 0) -> Measurement:
    return Measurement(candidate, FULL, round_, rate, 0.0, {"50": 0.1, "99": 0.2}, 1, 0.1, 0.0, 3)


def test_each_line_says_what_it_is_worth() -> None:
    other = Candidate(execution=Execution(threads=2, memory_format="channels_last"), workers=1, batch_size=16)
    waiting = Candidate(execution=WON.execution, workers=2, batch_size=16, policy="delay", delay=5)
    without = plainer(WON)
    made = TuneResults(
        SUBJECT,
        measurements=[
            *(at(WON, 999.0), at(WON, 400.0, 1), at(other, 200.0), at(waiting, 320.0)),
            *(at(msgspec.structs.replace(one, **changed), 390.0) for one, changed in UNLIKE),
            at(without["batchSize"], 100.0),
        ],
        outs=[CandidateOut(without["memoryFormat"], "it fails")],
    )
    said = worths(made, WON)
    assert said["batchSize"] == "4.00 times the rate with batches of one (400 instead of 100 a second)"
    assert said["memoryFormat"] == "without it requests fail"
    assert said["minWorkers"] == "2.00 times the rate with 1 x 2 (400 instead of 200 a second)"
    assert said["threads"] == "2 x 1 of 2 cores"
    if WON.policy == DEFAULT_POLICY:
        assert said["batchPolicy"].startswith("1.25 times the rate with delay of 5 ms ")
    standing = best(standings(made.measurements, None))
    assert standing is not None
    text = tuned_text(made, standing, WON.config() | {"tunedFor": tuned_for(SUBJECT)}, ["It won"])
    assert text.startswith(f"{MARK} ")
    assert "# It won\n" in text
    assert "batchSize: 16                     # 4.00 times the rate" in text
    assert "  memoryFormat: channels_last     # without it requests fail" in text


@given(
    st.builds(
        Candidate,
        execution=st.builds(
            Execution,
            threads=st.none() | st.integers(1, 8),
            memory_format=st.sampled_from(["", "channels_last"]),
            dtype=st.sampled_from(["", "bfloat16"]),
        ),
        workers=st.integers(1, 8),
        batch_size=st.sampled_from(BATCHES),
        policy=st.sampled_from(POLICIES),
        delay=st.none() | st.integers(1, 9),
    )
)
def test_the_server_reads_what_was_written(candidate: Candidate) -> None:
    made = TuneResults(SUBJECT, measurements=[at(candidate, 1.0)])
    (standing,) = standings(made.measurements, None)
    keys = candidate.config() | {"tunedFor": tuned_for(SUBJECT)}
    text = tuned_text(made, standing, keys, ["one: [sentence]"])
    assert yaml.safe_load(text) == keys
    given_, complaints = parse_model_config(text, "made")
    assert not complaints
    assert not given_.refused
