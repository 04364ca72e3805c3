"""Makes a tiny model that generates text and one that embeds it, and expected.json with what they say.

    python make_generators.py FOLDER

Needs transformers. The weights are random, from a seed; the texts have as many tokens each.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast, GPT2Config, GPT2LMHeadModel

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the day weather news is was fine bad cold how what today here".split()  # noqa: SIM905
TEXTS = [
    "the day is fine",
    "bad news today here",
    "the weather was cold",
    "how is the day",
    "what news is here",
]
#: Tokens that are made of one text.
LENGTH = 6


def main(home: Path) -> None:
    torch.manual_seed(2)
    gpt = GPT2Config(
        vocab_size=len(WORDS), n_embd=8, n_layer=1, n_head=2, n_positions=64, initializer_range=1,
        bos_token_id=2, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=len(WORDS), num_hidden_layers=1, num_attention_heads=2, initializer_range=1,
        hidden_size=8, intermediate_size=8, max_position_embeddings=32,
    )  # fmt: skip
    models = {"generator": GPT2LMHeadModel(gpt).eval(), "embedder": BertModel(bert).eval()}
    (home / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(
        str(home / "vocab.txt"), eos_token="[SEP]", model_input_names=["input_ids", "attention_mask"]
    )
    for name, model in models.items():
        model.save_pretrained(home / name)
        tokenizer.save_pretrained(home / name)
    inputs = tokenizer(TEXTS, return_tensors="pt")
    with torch.inference_mode():
        made = models["generator"].generate(**inputs, do_sample=False, max_new_tokens=LENGTH)
        embedded = models["embedder"](**inputs).pooler_output
    expected = {
        "texts": TEXTS,
        "length": LENGTH,
        "whole": tokenizer.batch_decode(made, skip_special_tokens=True),
        "embeddings": embedded.tolist(),
    }
    (home / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
