"""TorchServe's examples of speech and text that need no library of others, in small, by real workers."""

from __future__ import annotations

import io
import json
import math
import sys
import wave
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
from archives import HANDLERS, archived

from servers import Server

sys.path.append(str(Path(__file__).parents[1] / "server"))
from rpc_client import Client  # type: ignore[import-not-found]

#: What the chat model goes round: bytes, among them half a letter each of "é".
TOKENS = (b"a", b"\xc3", b"\xa9", b"\x00", b"long" * 50)
#: Letters that the speech models know, and samples of each.
LETTERS, SAMPLES = 5, 4
GENERATED = torch.tensor([ord(letter) for letter in "abcdefghijk"])
JSON = {"Content-Type": "application/json"}

pytestmark = pytest.mark.slow


class Scripted(torch.nn.Module):
    """A classifier with its tokenizer, for TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.words = {"good": 1.0, "bad": -1.0}

    def forward(self, texts: list[str]) -> torch.Tensor:
        found: list[float] = []
        for text in texts:
            total = 0.0
            for word in text.split():
                total += self.words.get(word, 0.0)
            found.append(total)
        scores = torch.tensor(found)
        return torch.stack([-scores, scores], dim=1)


DECODER = """
from typing import List, NamedTuple
import torch

class Hypothesis(NamedTuple):
    tokens: List[int]

class Decoder(torch.nn.Module):
    def forward(self, samples: torch.Tensor, length: torch.Tensor, beam: int) -> List[Hypothesis]:
        return [Hypothesis([97 + int(sample) for sample in samples])]
"""


def translation(home: Path, store: Path) -> None:
    (home / "dict.txt").write_text("the la\nhouse maison\n")
    (home / "setup_config.json").write_text('{"translated_output": "french_output"}')
    extra = (home / "dict.txt", home / "setup_config.json")
    archived(store, "translation", "translation_handler.py", "--force", extra=extra)


def tokenizer(home: Path, store: Path) -> None:
    torch.jit.script(Scripted()).save(home / "model_jit.pt")
    (home / "index_to_name.json").write_text('{"0": "Negative", "1": "Positive"}')
    options = ("--serialized-file", home / "model_jit.pt")
    extra = (home / "index_to_name.json",)
    archived(store, "sentiment", "scripted_tokenizer_handler.py", *options, extra=extra)
    config = "batchSize: 4\nmaxBatchDelay: 500\n"
    extra = (*extra, HANDLERS / "scripted_tokenizer_handler.py")
    archived(store, "padded", "padded_handler.py", *options, extra=extra, config=config)


def tones(home: Path, store: Path) -> torch.Tensor:
    waves = torch.arange(LETTERS * SAMPLES, dtype=torch.float32).reshape(LETTERS, SAMPLES) * 100
    torch.save(
        {
            "config": {"letters": LETTERS, "samples": SAMPLES},
            "state_dict": {"module.waves.weight": waves},
        },
        home / "tone.pth",
    )
    with zipfile.ZipFile(home / "speller.zip", "w") as packed:
        folder = "PyTorch/SpeechSynthesis/speller"
        packed.writestr(f"{folder}/__init__.py", "")
        packed.writestr(f"{folder}/letters.py", "FIRST = 'a'\n")
        packed.writestr(
            f"{folder}/text.py",
            "from PyTorch.SpeechSynthesis.speller.letters import FIRST\n"
            "def spelled(text):\n    return [ord(letter) - ord(FIRST) for letter in text.lower()]\n",
        )
    options = ("--model-file", HANDLERS / "tone_model.py", "--serialized-file", home / "tone.pth")
    archived(store, "tone", "tone_handler.py", *options, extra=(home / "speller.zip",))
    return waves


def voice(store: Path) -> torch.Tensor:
    config = (
        "minWorkers: 1\nmaxWorkers: 1\nhandler:\n  model: model\n  speaker_embeddings: speaker_embeddings\n"
    )
    archived(store, "Voice-TTS", "voice_handler.py", "--archive-format", "no-archive", "-f", config=config)
    weights = torch.arange(128.0)
    for folder, name, value in (("model", "weights", weights), ("speaker_embeddings", "voice", {7: 3})):
        (store / "Voice-TTS" / folder).mkdir()
        torch.save(value, store / "Voice-TTS" / folder / f"{name}.pt")
    return weights


def listeners(home: Path, store: Path) -> None:
    torch.save(torch.eye(SAMPLES), home / "pytorch_model.bin")
    (home / "vocab.json").write_text('{"A": 0, "B": 1, "C": 2, "|": 3}')
    options = ("--serialized-file", home / "pytorch_model.bin")
    archived(store, "listener", "listener_handler.py", *options, extra=(home / "vocab.json",))
    (home / "decoder_source.py").write_text(DECODER)
    sys.path.append(str(home))
    from decoder_source import Decoder  # type: ignore[import-not-found]

    torch.jit.script(Decoder()).save(home / "decoder_jit.pt")
    archived(store, "decoder", "decoder_handler.py", "--serialized-file", home / "decoder_jit.pt")


def generators(store: Path) -> None:
    config = "responseTimeout: 1200\n\nhandler:\n  model_name: chat\n  manual_seed: 40\n"
    archived(store, "chat", "chat_handler.py", "--archive-format", "tgz", config=config)
    for name, more in (("fast_gpt", "profile: true"), ("whole_gpt", "stream: false")):
        config = f"maxBatchDelay: 200\nhandler:\n  converted_ckpt_dir: checkpoints/tiny/model.pth\n  {more}\n"
        extra = (HANDLERS / "fast_gpt_generate.py",)
        options = ("--archive-format", "no-archive")
        archived(store, name, "fast_gpt_handler.py", *options, config=config, extra=extra)
        (store / name / "checkpoints" / "tiny").mkdir(parents=True)
        torch.save(GENERATED, store / name / "checkpoints" / "tiny" / "model.pth")


def instructions(home: Path, store: Path) -> None:
    (home / "instructor" / "pooling").mkdir(parents=True)
    torch.save(torch.eye(2) / 2, home / "instructor" / "pytorch_model.bin")
    torch.save(torch.tensor(3.0), home / "instructor" / "pooling" / "scale.pt")
    # The model comes twice, as there: alone, and in its folder.
    options = ("--serialized-file", home / "instructor" / "pytorch_model.bin", "--f")
    archived(store, "instructor", "instruction-handler.py", *options, extra=(home / "instructor",))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speech")


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Server]:
    store = home / "model_store"
    store.mkdir()
    translation(home, store)
    tokenizer(home, store)
    tones(home, store)
    voice(store)
    listeners(home, store)
    generators(store)
    instructions(home, store)
    (home / "chat.gguf").write_bytes(b"|".join(TOKENS))
    marked = ("sentiment", "padded", "tone", "listener", "decoder", "instructor")
    models = (*(f"{name}={name}.mar" for name in marked), "Voice-TTS", "fast_gpt", "whole_gpt")
    flags = ("--disable-token-auth", "--enable-model-api")
    settings = {"default_workers_per_model": 1, "default_response_timeout": 300}
    environ = {"CHAT_MODEL": str(home / "chat.gguf")}
    server = Server(home, (*models, "chat=chat.tar.gz"), settings, flags, environ=environ)
    yield server
    server.stop()


def post(server: Server, model: str, content: bytes | str, **headers: str) -> httpx.Response:
    answer = server.client.post(f"/predictions/{model}", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def recording(samples: list[int], rate: int = 16000) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", None))
        file.writeframes(torch.tensor(samples, dtype=torch.int16).numpy().tobytes())
    return made.getvalue()


def test_translations_in_a_batch(served: Server) -> None:
    """nmt_transformer: the handler reads setup_config.json, and its batch size comes by registration."""
    asked = {"url": "translation.mar", "batch_size": "4", "max_batch_delay": "500", "initial_workers": "1"}
    registered = served.manage.post("/models", params={**asked, "synchronous": "true"})
    assert registered.status_code == 200, registered.text
    texts = ["the house", "the day\n", "house house", "été"]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(lambda text: post(served, "translation", text), texts))
    said = ["la maison", "la day", "maison maison", "été"]
    for answer, text, french in zip(answers, texts, said, strict=True):
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.json() == {"input": text, "french_output": french}
    assert served.client.post("/predictions/translation", content=b"\xff").status_code == 503


def test_a_tokenizer_within_the_model(served: Server) -> None:
    """text_classification_with_scriptable_tokenizer: the model takes texts; its file is loaded by a hook."""
    positive = 1 / (1 + math.exp(-4))
    expected = {"Negative": pytest.approx(1 - positive), "Positive": pytest.approx(positive)}
    assert post(served, "sentiment", "<b>Good</b>, very GOOD good").json() == expected
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    said = post(served, "sentiment", "bad news", **form).json()
    assert max(said, key=said.get) == "Negative"


def test_batches_are_padded_by_a_subclass_of_a_sibling(served: Server) -> None:
    """Huggingface_Transformers for Neuron, inferentia2/opt: a base in an extra file, batches of one size."""
    texts = ["good", "bad bad", "news"]
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(lambda text: post(served, "padded", text).json(), texts))
    for answer, score in zip(answers, (1, -2, 0), strict=True):
        assert answer["Positive"] == pytest.approx(1 / (1 + math.exp(-2 * score)))


def test_speech_by_code_in_an_inner_zip(served: Server, home: Path) -> None:
    """WaveGlow: sources in a zip of the archive, names of a wrapped model, and a WAV file as the answer."""
    waves = torch.load(home / "tone.pth")["state_dict"]["module.waves.weight"]
    expected = recording(waves[[1, 0, 3]].flatten().int().tolist(), 22050)
    answer = post(served, "tone", "Bad")
    assert (answer.headers["content-type"], answer.content) == ("application/octet-stream", expected)
    # A file without a type, as requests sends it.
    part = b'--x\r\nContent-Disposition: form-data; name="data"; filename="t.txt"\r\n\r\nbad\r\n--x--\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(served, "tone", part, **form).content == expected


def test_speech_by_folders_beside_the_handler(served: Server) -> None:
    """SpeechT5: an archive that is a folder, with models in paths that are relative to it."""
    answer = post(served, "Voice-TTS", "the day")
    assert answer.content == recording([3 * ord(letter) for letter in "the day"])


def test_recordings_are_written_down(served: Server) -> None:
    """speech2text_wav2vec2: raw bytes as audio/basic, another rate, a form; a class without a base."""
    samples = [9, 1, 1, 1, 0, 0, 9, 0, 0, 5, 0, 0, 0, 0, 0, 2]
    audio = {"Content-Type": "audio/basic"}
    assert post(served, "listener", recording(samples), **audio).text == "ACB|"
    doubled = [sample for sample in samples for _ in range(2)]
    assert post(served, "listener", recording(doubled, 32000), **audio).text == "ACB|"
    form = served.client.post("/predictions/listener", files={"data": recording(samples)})
    assert form.text == "ACB|"
    bad = served.client.post("/predictions/listener", content=b"RIFFnothing", headers=audio)
    assert (bad.status_code, bad.json()["message"]) == (503, "Prediction failed")


def test_hypotheses_of_a_decoder(served: Server) -> None:
    """asr_rnnt_emformer: a TorchScript model that returns hypotheses, found by the manifest's name."""
    assert post(served, "decoder", recording([7, 8, 11])).text == "hil"


def test_a_chat_comes_token_by_token(served: Server) -> None:
    """LLM/llama/chat_app: tokens are bytes and arrive as they are, each a chunk; the end adds nothing."""
    asked = {"prompt": "ab", "params": {"max_new_tokens": 7, "top_p": 0.5, "temperature": 0.5}}
    expected = [TOKENS[(2 + number) % len(TOKENS)] for number in range(7)]
    with served.client.stream("POST", "/predictions/chat", json=asked) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert b"".join(answer.iter_raw()) == b"".join(expected)
    client = Client(served.grpc)
    stream = client["org.pytorch.serve.grpc.inference.InferenceAPIsService", "StreamPredictions"](
        model_name="chat", input={"body": json.dumps(asked).encode()}, metadata=()
    )
    parts = [part.prediction for part in stream]
    assert [part for part in parts if part] == expected


def test_generated_text_is_streamed(served: Server) -> None:
    """gpt_fast: siblings, a checkpoint relative to the archive, parts in order, and timed steps."""
    asked = json.dumps({"prompt": "hello", "max_new_tokens": 6})
    token, expected = sum(map(ord, "hello")), ""
    for _ in range(6):
        token = int(GENERATED[token % len(GENERATED)])
        expected += chr(token)
    for headers in ({}, JSON):
        with served.client.stream("POST", "/predictions/fast_gpt", content=asked, headers=headers) as answer:
            assert answer.status_code == 200
            assert "".join(answer.iter_text()) == expected
        assert post(served, "whole_gpt", asked, **headers).text == expected
    wrong = served.client.post("/predictions/fast_gpt", json={"text": "hello"})
    assert (wrong.status_code, wrong.json()["cause"].partition(" (")[0]) == (503, "KeyError: 'prompt'")
    for step in ("preprocess", "inference", "postprocess"):
        served.wait_for(rf"\[METRICS\]ts_handler_{step}\.Milliseconds:[\d.]+\|#ModelName:fast_gpt")


def test_embeddings_with_instructions(served: Server) -> None:
    """instruction_embedding: one pair or several in a JSON body; a model that is a folder."""
    pairs = [["Represent:", "a day"], ["Find:", "news"]]
    one = post(served, "instructor", json.dumps({"inputs": pairs[0]}), **JSON)
    assert one.json() == [[15.0, 7.5]]
    several = post(served, "instructor", json.dumps({"inputs": pairs}), **JSON)
    assert several.json() == [[15.0, 7.5], [7.5, 6.0]]
