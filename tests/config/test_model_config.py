"""model-config.yaml: what is read of it, and what is said of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchkeeper.config.batch_rules import unreadable
from torchkeeper.config.model_config import ReplacingConfig, parse_model_config, read_replacing
from torchkeeper.config.model_settings import GivenSettings

FILE = "m.yaml"


def test_what_the_server_and_what_handlers_read() -> None:
    given, said = parse_model_config(
        "batchSize: 4\nresponseTimeout: 2.5\nhandler:\n  labels: [a]\n1: one\n", FILE
    )
    assert given.values() == {"batch_size": 4, "response_timeout": 2.5}
    assert given.raw == {"batchSize": 4, "responseTimeout": 2.5, "handler": {"labels": ["a"]}, "1": "one"}
    assert {str(told) for told in given.told.values()} == {"model-config.yaml/m.yaml"}
    assert said == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert parse_model_config(text, FILE) == (GivenSettings(), ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "is no valid YAML, defaults are used: "),
        ("a: b: c", "is no valid YAML, defaults are used: "),
        ("a: !!python/object:os.system x", "is no valid YAML, defaults are used: "),
        ("[" * 1000, "is no valid YAML, defaults are used: "),
        ("a: 2026-99-99", "is no valid YAML, defaults are used: "),
        ("a: \x07", "is no valid YAML, defaults are used: "),
        ("- batchSize: 4", "is not a mapping, defaults are used"),
        ("just words", "is not a mapping, defaults are used"),
    ],
)
def test_an_unreadable_file_costs_the_whole_and_is_said_in_one_line(text: str, why: str) -> None:
    given, (said,) = parse_model_config(text, FILE)
    assert given == GivenSettings()
    assert said.startswith(f"{FILE} {why}")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("batchSize: '4'", "m.yaml: batchSize: '4' must be a whole number from 1 or auto and is ignored"),
        ("batchSize: 0", "m.yaml: batchSize: 0 must be a whole number from 1 or auto and is ignored"),
        ("deviceType: tpu", "m.yaml: deviceType: 'tpu' must be cpu or gpu and is ignored"),
        ("preload: 'no'", "m.yaml: preload: 'no' must be true or false and is ignored"),
    ],
)
def test_a_wrong_value_costs_its_key(line: str, said: str) -> None:
    given, complaints = parse_model_config(f"{line}\nmaxBatchDelay: 7\n", FILE)
    assert given.values() == {"max_batch_delay": 7}
    assert complaints == (said,)


@pytest.mark.parametrize(
    "value", ["0x" + "f" * 500, "123456789012345678901234567890", "[{a: -9999999999999999999}]", "&a [*a]"]
)
@pytest.mark.parametrize("key", ["batchSize", "mine"])
def test_what_no_worker_can_be_told_costs_its_key(key: str, value: str) -> None:
    given, (said,) = parse_model_config(f"{key}: {value}\nmaxBatchDelay: 7\n", FILE)
    assert given.raw == {"maxBatchDelay": 7}
    assert given.values() == {"max_batch_delay": 7}
    assert said.startswith(f"{FILE}: {key} cannot be handed to workers (")
    assert len(said) < 300


def test_a_bad_pair_of_workers_is_torchserves_sentence() -> None:
    told, warnings = parse_model_config("minWorkers: 3\nmaxWorkers: 2\nbatchSize: 2\n", "m.yaml")
    assert warnings == ("Invalid model config in mar, minWorkers:3, maxWorkers:2",)
    assert told.values() == {"batch_size": 2}


@given(st.text(alphabet=st.sampled_from("ab:1-[]{},&*!|>'\"#% \n\tx0.~?@"), max_size=40))
def test_any_text_is_read_or_said(text: str) -> None:
    given, said = parse_model_config(text, FILE)
    assert given == GivenSettings() or given.raw
    assert all("\n" not in sentence for sentence in said)


def test_keys_of_the_operators_file_take_the_place_of_the_archives() -> None:
    over = read_replacing("batchSize: 64\nexecution: {threads: 1}\nmine: 2\n", "their.yaml")
    text = "batchSize: 4\nmaxBatchDelay: 7\nexecution: {memoryFormat: channels_last}\nmine: 1\nours: 3\n"
    given, said = parse_model_config(text, FILE, over)
    assert not said
    assert {key: value for key, value in given.values().items() if key != "execution"} == {
        "batch_size": 64,
        "max_batch_delay": 7,
    }
    execution = given.told["execution"].value
    assert (execution.threads, execution.memory_format) == (1, "")  # a section is replaced as a whole
    assert given.raw["mine"] == 2
    assert given.raw["ours"] == 3
    assert str(given.told["batch_size"]) == "model-config.yaml/their.yaml"
    assert str(given.told["max_batch_delay"]) == f"model-config.yaml/{FILE}"


def test_what_clashes_only_together_is_refused() -> None:
    over = ReplacingConfig("their.yaml", {"execution": {"threads": 1}})
    given, _ = parse_model_config("pt2: inductor\n", FILE, over)
    (sentence,) = given.refused
    assert "execution and pt2 both say how the model is run" in sentence


def test_an_unreadable_file_of_the_archives_leaves_the_operators() -> None:
    given, (said,) = parse_model_config("a: [", FILE, ReplacingConfig("their.yaml", {"batchSize": 8}))
    assert "is no valid YAML" in said
    assert given.values() == {"batch_size": 8}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not a mapping"),
        ("a: [", "while parsing"),
        ("batchSize: many\n", "batchSize: 'many' must be a whole number from 1"),
        ("execution: {thread: 1}\n", "execution.thread is no key of it"),
        ("minWorkers: 2\nmaxWorkers: 1\n", "minWorkers:2, maxWorkers:1"),
    ],
)
def test_the_operators_file_is_strict(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_replacing(text, "their.yaml")


COSTS = "items, bytes, elements or the name of a request header"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("batchCost: bytes\n", "batchCost: bytes needs maxBatchCost, the most that a batch may cost"),
        ("batchCost: X-Tokens\n", "batchCost: X-Tokens needs maxBatchCost"),
        ("maxBatchCost: 7\n", f"maxBatchCost needs batchCost, which says what requests cost: {COSTS}"),
        ("batchCost: two words\nmaxBatchCost: 7\n", f"batchCost: 'two words' must be {COSTS}"),
        ("batchCost: Bytes\nmaxBatchCost: 7\n", f"batchCost: 'Bytes' must be {COSTS}"),
        ("batchCost: [bytes]\nmaxBatchCost: 7\n", "batchCost: ['bytes'] must be"),
        ("batchCost: 3\nmaxBatchCost: 7\n", "batchCost: 3 must be"),
        ("batchCost: ''\nmaxBatchCost: 7\n", "batchCost: '' must be"),
        *[
            (f"batchCost: bytes\nmaxBatchCost: {bound}\n", "must be a number above 0")
            for bound in ("0", "-1", ".inf", ".nan", "many", "true", "[7]", "9007199254740993", "''")
        ],
        ("batchBy: size\n", "batchBy: 'size' must be shape"),
        ("batchBy: [shape]\n", "batchBy: ['shape'] must be shape"),
    ],
)
def test_what_is_wrong_with_costs_refuses_the_model(text: str, why: str) -> None:
    given, complaints = parse_model_config(text, FILE)
    assert why in given.refused[0]
    assert given.refused[0].startswith(f"{FILE}: ")
    assert not complaints


@pytest.mark.parametrize(
    "text",
    [
        "batchCost: items\n",
        "batchCost: items\nmaxBatchCost: 4\n",
        "batchCost: X-Tokens\nmaxBatchCost: 0.5\nbatchBy: shape\n",
        "batchBy: shape\n",
    ],
)
def test_costs_and_shapes(text: str) -> None:
    given, complaints = parse_model_config(text, FILE)
    assert not given.refused
    assert not complaints


def test_a_cost_and_its_bound_may_stand_in_two_files() -> None:
    over = read_replacing("maxBatchCost: 8\n", "their.yaml")
    assert not parse_model_config("batchCost: bytes\nmaxBatchCost: 4\n", FILE, over)[0].refused
    (sentence,) = parse_model_config("", FILE, over)[0].refused
    assert "maxBatchCost needs batchCost" in sentence
    with pytest.raises(ValueError, match="batchBy: 'size' must be shape"):
        read_replacing("batchBy: size\n", "their.yaml")


@pytest.mark.parametrize(
    ("cost", "by", "envelope", "why"),
    [
        ("elements", None, None, None),
        ("elements", "shape", "kservev2", None),
        ("bytes", None, "json", None),
        ("elements", None, "json", "batchCost: elements needs requests with tensors"),
        ("items", "shape", "body", "batchBy: shape needs requests with tensors"),
        ("bytes", "shape", "kserve", "those of this server come as kserve"),
    ],
)
def test_whose_requests_have_tensors(
    cost: str, by: str | None, envelope: str | None, why: str | None
) -> None:
    said = unreadable(cost, by, envelope)
    assert said is None if why is None else why in str(said)
