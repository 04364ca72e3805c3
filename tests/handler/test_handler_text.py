"""TextClassifier: TorchServe's answers and explanations, for one text and for batches of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from torchkeeper.handler.text import NO_EMBEDDING, TextClassifier, Texts
from torchkeeper.testing import MockContext, Request, run_handler
from torchkeeper.wire.messages import Failure, Kind, Reply

#: The classifier of TorchServe's example: a bag of embeddings per text, and a layer that scores it.
BAGS = """
import torch


class Bags(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.EmbeddingBag(17, 3)
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))
"""
#: One that takes a single text and does not look at the offsets.
ONE = """
import torch


class One(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(17, 3)
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text).max(0, keepdim=True).values)
"""
WORDS = ["<unk>", "i", "would", "not", "it", "is", "a", "fine", "day", "do", "like", "the", "news", "cafe"]
VOCABULARY = {token: number for number, token in enumerate([*WORDS, "i would", "fine day", "do not"])}
FANCY = "<b>I'd</b> like the CAFÉ news, it's fine; don't"
PLAIN = "a fine day"
TOKENS = {FANCY: [1, 2, 10, 11, 13, 12, 4, 5, 7, 9, 3, 14, *[0] * 8, 16], PLAIN: [6, 7, 8, 0, 15]}
#: What TorchServe 0.12 answers with the weights that `folder` saves.
DULL_FANCY = 0.490161
IMPORTANCES_FANCY = [0.222759, 0.35152, 0.425721]
DULL_PLAIN = 0.601915
IMPORTANCES_PLAIN = [0.439511, 0.29074, 0.269749]
MODEL = {"modelFile": "bags.py", "serializedFile": "bags.pth"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with bags.py, one.py, weights for both, and a vocabulary."""
    for name, source in (("bags", BAGS), ("one", ONE)):
        (tmp_path / f"{name}.py").write_text(source)
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        net = namespace[name.title()]()
        for parameter in net.parameters():
            values = torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape)
            parameter.data = torch.sin(values)
        torch.save(net.state_dict(), tmp_path / f"{name}.pth")
        example = (torch.tensor([1, 2, 3]), torch.tensor([0, 1]))
        torch.jit.save(torch.jit.trace(net, example), tmp_path / f"{name}.pt")
    torch.save(VOCABULARY, tmp_path / "source_vocab.pt")
    (tmp_path / "index_to_name.json").write_text('{"0": "dull", "1": "new"}')
    return tmp_path


def ask(folder: Path, texts: list[Request], **others: Any) -> list[Reply | Failure]:
    model = others.pop("model", MODEL)
    return run_handler("text_classifier", texts, model=model, model_dir=folder, **others)


def read(answers: list[Reply | Failure]) -> list[Any]:
    assert all(isinstance(answer, Reply) for answer in answers), answers
    return [json.loads(answer.body) for answer in answers if isinstance(answer, Reply)]


def handler(folder: Path) -> TextClassifier:
    made = TextClassifier()
    made.initialize(MockContext("bags.pth", folder, "bags.py", gpu_id=None))
    return made


@pytest.mark.parametrize("text", [FANCY, PLAIN])
def test_a_text_is_cleaned_and_counted_as_torchserve_does(folder: Path, text: str) -> None:
    numbers, words = handler(folder).preprocess([{"data": text}])
    assert numbers.tolist() == TOKENS[text]
    assert [VOCABULARY[word] for word in words] == TOKENS[text][: len(words)]


def test_an_answer_is_the_probability_of_each_class(folder: Path) -> None:
    (fancy,) = read(ask(folder, [FANCY]))
    (plain,) = read(ask(folder, [PLAIN]))
    assert fancy == pytest.approx({"dull": DULL_FANCY, "new": 1 - DULL_FANCY}, abs=1e-6)
    assert plain == pytest.approx({"dull": DULL_PLAIN, "new": 1 - DULL_PLAIN}, abs=1e-6)


@pytest.mark.parametrize("model", [MODEL, {"serializedFile": "bags.pt"}], ids=["eager", "torchscript"])
@pytest.mark.parametrize("name", ["bags", "one"])
def test_texts_of_a_batch_are_answered_as_each_alone(folder: Path, model: dict[str, str], name: str) -> None:
    model = {key: value.replace("bags", name) for key, value in model.items()}
    texts: list[Request] = [FANCY, {"data": PLAIN}, {"body": ('{"data": "fine day"}', "application/json")}]
    together = read(ask(folder, texts, model=model))
    alone = [read(ask(folder, [text], model=model))[0] for text in texts]
    assert together == [pytest.approx(answer, abs=1e-6) for answer in alone]
    assert len({answer["new"] for answer in alone}) == 3


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (b"", "the text has no words"),
        (b"\xff\xfe", "'utf-8' codec can't decode"),
        ("?!, <p>", "the text has no words"),
        ({"body": ("[1, 2]", "application/json")}, "a text is needed, not [1, 2]"),
        ({"body": ('{"text": "a"}', "application/json")}, "a text is needed"),
        ({"other": b"x"}, "a request needs a parameter 'data' or a body"),
    ],
)
def test_what_is_no_text_fails_alone(folder: Path, bad: Request, cause: str) -> None:
    first, answer, last = ask(folder, [FANCY, bad, PLAIN])
    assert isinstance(answer, Failure)
    assert (answer.status, answer.message) == (503, "Prediction failed")
    assert cause in str(answer.cause)
    assert [first, last] == ask(folder, [FANCY, PLAIN])


def test_a_token_without_a_number_fails_its_text_alone(folder: Path) -> None:
    torch.save({"fine": 0, "day": 1, "fine day": 2}, folder / "source_vocab.pt")
    good, bad = ask(folder, ["fine day", "fine night"])
    assert isinstance(good, Reply)
    assert isinstance(bad, Failure)
    assert "the vocabulary has no 'night', and no number for unknown tokens" in str(bad.cause)


def test_explanations_are_torchserves(folder: Path) -> None:
    (fancy,) = read(ask(folder, [{"data": FANCY, "target": b"1"}], kind=Kind.EXPLAIN))
    (plain,) = read(ask(folder, [PLAIN], kind=Kind.EXPLAIN))
    assert fancy["words"] == ["i", "would", "like", "the", "cafe", "news", "it", "is", "fine", "do", "not"]
    assert plain["words"] == ["a", "fine", "day"]
    assert fancy["importances"] == [pytest.approx(IMPORTANCES_FANCY, abs=1e-6)]
    assert plain["importances"] == [pytest.approx(IMPORTANCES_PLAIN, abs=1e-6)]


@pytest.mark.parametrize("name", ["bags", "one"])
def test_each_text_of_a_batch_is_explained_for_its_own_target(folder: Path, name: str) -> None:
    model = {key: value.replace("bags", name) for key, value in MODEL.items()}
    texts: list[Request] = [{"data": FANCY, "target": b"1"}, PLAIN, {"data": PLAIN, "target": b"1"}]
    together = read(ask(folder, texts, kind=Kind.EXPLAIN, model=model))
    alone = [read(ask(folder, [text], kind=Kind.EXPLAIN, model=model))[0] for text in texts]
    assert together == alone
    assert alone[1]["importances"] != alone[2]["importances"]
    assert len(alone[1]["importances"]) == (1 if name == "bags" else 5)


def test_a_class_that_there_is_not_is_named(folder: Path) -> None:
    texts: list[Request] = [FANCY, {"data": PLAIN, "target": b"2"}]
    good, bad = ask(folder, texts, kind=Kind.EXPLAIN)
    assert [good] == ask(folder, texts[:1], kind=Kind.EXPLAIN)
    assert isinstance(bad, Failure)
    assert bad.status == 400
    assert bad.message == "target 2 is out of range: the model's classes are 0 to 1"


def test_what_cannot_be_explained_says_why(folder: Path) -> None:
    (answer,) = ask(folder, [PLAIN], kind=Kind.EXPLAIN, model={"serializedFile": "bags.pt"})
    assert isinstance(answer, Failure)
    assert answer.status == 501
    assert "need an eager model" in answer.message
    (folder / "other.py").write_text(BAGS.replace("embedding", "table"))
    assert read(ask(folder, [PLAIN], model={"modelFile": "other.py"}))
    (answer,) = ask(folder, [PLAIN], kind=Kind.EXPLAIN, model={"modelFile": "other.py"})
    assert isinstance(answer, Failure)
    assert (answer.status, answer.message) == (501, NO_EMBEDDING)


def test_a_vocabulary_under_another_name(folder: Path) -> None:
    (folder / "source_vocab.pt").rename(folder / "words.pt")
    with pytest.raises(RuntimeError, match=r"the archive has no source_vocab\.pt: add the vocabulary"):
        ask(folder, [PLAIN])
    assert read(ask(folder, [PLAIN], model={**MODEL, "sourceVocab": "words.pt"}))


OWN = """
from ts.torch_handler.text_classifier import TextClassifier


class Own(TextClassifier):
    ngrams = 1

    def preprocess(self, data):
        numbers, words = super().preprocess(data[:1])
        return numbers, words[::-1]

    def postprocess(self, data):
        return [max(one, key=one.get) for one in super().postprocess(data)]
"""


def test_a_subclass_in_torchserves_style(folder: Path) -> None:
    (folder / "own.py").write_text(OWN)
    (answer,) = run_handler(folder / "own.py", [FANCY], model=MODEL)
    assert isinstance(answer, Reply)
    assert answer.body in (b"dull", b"new")
    (answer,) = run_handler(folder / "own.py", [PLAIN], model=MODEL, kind=Kind.EXPLAIN)
    assert isinstance(answer, Reply)
    assert json.loads(answer.body)["words"] == ["day", "fine", "a"]


def test_the_steps_that_clean_a_text(folder: Path) -> None:
    made = handler(folder)
    assert made._remove_puncutation("a.b") == made._remove_punctuation("a.b") == "ab"
    assert made._remove_html_tags("a<br>b&amp;c") == "abc"
    assert made._remove_accented_characters("Zoë ﬁ") == "Zoe fi"
    assert made.get_word_token(["Ġa", "b"]) == ["a", "b"]


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_attributions_in_torchserves_scale(folder: Path, shape: tuple[int, ...]) -> None:
    summary = handler(folder).summarize_attributions(torch.ones(shape))
    assert summary.shape == shape
    assert torch.linalg.vector_norm(summary.sum(-1)).item() == pytest.approx(1)


def test_a_batch_is_two_values_and_where_its_texts_begin() -> None:
    batch = Texts([(["a", "b"], [1, 2, 3]), (["c"], [4])], "cpu")
    numbers, words = batch
    assert numbers.tolist() == [1, 2, 3, 4]
    assert words == [["a", "b"], ["c"]]
    assert batch.offsets.tolist() == [0, 3]
