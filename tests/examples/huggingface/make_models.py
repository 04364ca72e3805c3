"""Makes a tiny model for each task, a folder each, and expected.json with what they say by themselves.

    python make_models.py FOLDER

Needs transformers. The weights are random, from a seed; all texts are of the words below.
"""

import json
import sys
from pathlib import Path

import torch
from captum.attr import LayerIntegratedGradients
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertTokenizerFast,
    GPT2Config,
    GPT2LMHeadModel,
)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the day weather news is was fine bad cold how what today here".split()  # noqa: SIM905
TEXTS = ["the day is fine", "bad news today", "the weather was cold here"]
QUESTION = ("how is the weather", "the weather is fine here")
#: Tokens that a text is padded to, and tokens that are made of one.
LENGTH = 12


def main(home: Path) -> None:
    torch.manual_seed(2)
    sizes = {
        "vocab_size": len(WORDS),
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "initializer_range": 1,
    }
    sizes_of_bert = {**sizes, "hidden_size": 8, "intermediate_size": 8, "max_position_embeddings": 32}
    three, two = (BertConfig(**sizes_of_bert, num_labels=labels) for labels in (3, 2))
    gpt = GPT2Config(
        vocab_size=len(WORDS), n_embd=8, n_layer=1, n_head=2, n_positions=64, initializer_range=1,
        bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    models = {
        "sequence": BertForSequenceClassification(three),
        "token": BertForTokenClassification(three),
        "question": BertForQuestionAnswering(two),
        "generation": GPT2LMHeadModel(gpt),
    }
    for name, model in models.items():
        (home / name).mkdir()
        (home / name / "vocab.txt").write_text("\n".join(WORDS))
        tokenizer = BertTokenizerFast(str(home / name / "vocab.txt"))
        tokenizer.save_pretrained(home / name)
        model.eval().save_pretrained(home / name)
    padded = tokenizer(TEXTS, padding="max_length", max_length=LENGTH, return_tensors="pt")
    both = (padded["input_ids"], padded["attention_mask"])
    models["token"].config.torchscript = True  # tuples, as the example's are traced
    traced = torch.jit.trace(models["token"], both, strict=False)
    torch.jit.save(traced, home / "token" / "traced_model.pt")
    with torch.inference_mode():
        expected = {
            "texts": TEXTS,
            "asked": QUESTION,
            "length": LENGTH,
            "sequence": models["sequence"](*both)[0].argmax(1).tolist(),
            "token": models["token"](*both)[0].argmax(2).tolist(),
            "question": answer(models["question"], tokenizer),
            "generation": [generated(models["generation"], tokenizer, text) for text in TEXTS],
        }
    expected["importances"] = importances(models["sequence"], tokenizer, TEXTS[0], 1)
    (home / "expected.json").write_text(json.dumps(expected))


def answer(model, tokenizer) -> str:
    inputs = tokenizer(*QUESTION, padding="max_length", max_length=LENGTH, return_tensors="pt")
    said = model(inputs["input_ids"], inputs["attention_mask"])
    begin, end = said.start_logits.argmax().item(), said.end_logits.argmax().item()
    ids = inputs["input_ids"][0, begin : end + 1].tolist()
    return tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(ids))


def generated(model, tokenizer, text: str) -> str:
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    made = model.generate(ids, max_new_tokens=LENGTH, do_sample=False)
    return tokenizer.decode(made[0], skip_special_tokens=True)


def importances(model, tokenizer, text: str, target: int) -> list[float]:
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    baseline = torch.zeros_like(ids)
    baseline[0, 0], baseline[0, -1] = ids[0, 0], ids[0, -1]
    method = LayerIntegratedGradients(lambda given: model(given)[0], model.bert.embeddings)
    summed = method.attribute(ids, baseline, target=target).sum(-1)[0]
    return (summed / torch.linalg.vector_norm(summed)).tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
