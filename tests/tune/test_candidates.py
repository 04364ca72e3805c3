"""What there is to try, and how it becomes the keys of model-config.yaml."""

from __future__ import annotations

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.config.model_config import parse_model_config
from torchkeeper.tune import candidates
from torchkeeper.tune.candidates import Candidate, entrants, neighbours, plainer, splits, variants
from torchkeeper.tune.cost import BatchCost
from torchkeeper.wire.execution import AS_IT_IS, Execution

FULL = Candidate(
    execution=Execution(threads=1, memory_format="channels_last", dtype="bfloat16"),
    workers=2,
    batch_size=16,
    policy="delay",
    delay=5,
)


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (Candidate(), {"batchSize": 1, "batchPolicy": "greedy", "minWorkers": 1, "maxWorkers": 1}),
        (
            FULL,
            {
                "batchSize": 16,
                "batchPolicy": "delay",
                "maxBatchDelay": 5,
                "minWorkers": 2,
                "maxWorkers": 2,
                "execution": {"threads": 1, "memoryFormat": "channels_last", "dtype": "bfloat16"},
            },
        ),
    ],
)
def test_a_candidate_is_keys_of_model_config(candidate: Candidate, expected: dict[str, object]) -> None:
    expected = expected | {"batchPolicy": candidate.policy}
    assert candidate.config() == expected
    given, complaints = parse_model_config(yaml.safe_dump(candidate.config()), "made")
    assert not complaints
    assert not given.refused
    assert msgspec.json.decode(msgspec.json.encode(candidate), type=Candidate) == candidate


def test_a_candidate_says_what_it_is() -> None:
    assert str(FULL) == "bfloat16 + channels_last, 2 workers of 1 thread, batches of 16, delay of 5 ms"
    assert str(Candidate()).startswith("eager, 1 worker, batches of 1, ")


@pytest.mark.parametrize(
    ("scripted", "samples_fit", "names"),
    [
        (True, True, ["eager", "frozen"]),
        (False, False, ["eager", "channels_last", "bfloat16", "bfloat16 + channels_last"]),
        (None, True, [*("eager", "frozen", "channels_last", "bfloat16", "bfloat16 + channels_last")]),
    ],
)
def test_the_variants(scripted: bool | None, samples_fit: bool, names: list[str]) -> None:
    found = variants(scripted=scripted, samples_fit=samples_fit)
    assert [candidates.variant_name(one) for one in found if not candidates.is_compiled(one)] == names
    compiled = [one for one in found if candidates.is_compiled(one)]
    assert bool(compiled) == (samples_fit and scripted is not True)
    assert list(found) == [*(one for one in found if one not in compiled), *compiled]


def test_a_variant_needs_its_parts() -> None:
    both = Execution(memory_format="channels_last", dtype="bfloat16", threads=2)
    parts = {Execution(memory_format="channels_last"), Execution(dtype="bfloat16")}
    assert set(candidates.needs(both)) == parts
    assert candidates.needs(AS_IT_IS) == candidates.needs(Execution(aot=True, threads=1)) == ()


@given(st.integers(1, 256))
def test_splits_use_the_cores_and_no_more(cores: int) -> None:
    found = splits(cores)
    assert all(workers * threads <= cores for workers, threads in found)
    assert (1, cores) in found
    assert (cores, 1) in found
    assert len(found) <= 4


def test_entrants_come_in_the_order_of_the_rate_foretold() -> None:
    costs = [
        (Execution(threads=1), BatchCost(0.001, 0.001)),
        (Execution(threads=2), BatchCost(0.001, 0.0006)),
        (Execution(threads=1, dtype="bfloat16"), BatchCost(0.001, 0.0002)),
    ]
    found = entrants(costs, cores=2, connections=64)
    assert [rate for rate, _ in found] == sorted((rate for rate, _ in found), reverse=True)
    best = found[0][1]
    assert (best.execution.dtype, best.workers) == ("bfloat16", 2)
    assert len(found) == 3 * len(candidates.BATCHES)
    assert {one.execution.dtype for _, one in candidates.best_variants(found, 1)} == {"bfloat16"}


def test_a_worker_gets_no_more_rows_than_connections_bring() -> None:
    ((rate, few), *_) = entrants([(Execution(threads=1), BatchCost(1.0, 0.0))], cores=1, connections=4)
    assert (rate, few.batch_size) == (4.0, 4)


@given(st.sampled_from(candidates.BATCHES), st.sampled_from(candidates.POLICIES))
def test_neighbours_differ_in_one_thing(rows: int, policy: str) -> None:
    one = Candidate(batch_size=rows, policy=policy, delay=5 if policy == "delay" else None)
    found = neighbours(one)
    assert one not in found
    assert len(set(found)) == len(found)
    assert {other.policy for other in found} - {policy} == set(candidates.POLICIES if rows > 1 else ()) - {
        policy
    }
    assert max(other.batch_size for other in found) <= candidates.BATCHES[-1]
    assert all(
        (other.policy, other.delay) == (one.policy, one.delay) or other.batch_size == rows for other in found
    )


def test_what_a_key_is_worth_is_told_by_the_same_without_it() -> None:
    found = plainer(FULL)
    assert set(found) == {"batchSize", "batchPolicy", "memoryFormat", "dtype"}
    assert found["dtype"].execution == Execution(threads=1, memory_format="channels_last")
    assert plainer(Candidate()) == {}


def test_a_cheap_model_is_not_compiled() -> None:
    assert candidates.worth_compiling(BatchCost(0.0, 0.001), 16, 1e-4) is None
    assert "20 µs" in str(candidates.worth_compiling(BatchCost(0.0, 2e-5), 16, 1e-4))
