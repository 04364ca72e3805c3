"""Says texts as tones, as a WAV file; half of its code is in a zip file in the archive."""

import os
import uuid
import wave
import zipfile

import torch
from tone_model import Tone

from ts.torch_handler.base_handler import BaseHandler


class ToneHandler(BaseHandler):
    def __init__(self):
        self.tone = None
        self.spell = None
        self.initialized = False

    def initialize(self, ctx):
        folder = ctx.system_properties.get("model_dir")
        with zipfile.ZipFile(folder + "/speller.zip", "r") as packed:
            packed.extractall(folder)
        checkpoint = torch.load(os.path.join(folder, "tone.pth"))
        self.tone = Tone(**checkpoint["config"])
        self.tone.load_state_dict(
            {name.replace("module.", ""): value for name, value in checkpoint["state_dict"].items()}
        )
        self.tone.eval()
        self._load_speller()
        self.initialized = True

    def _load_speller(self):
        from PyTorch.SpeechSynthesis.speller.text import spelled

        self.spell = spelled

    def preprocess(self, data):
        text = data[0].get("data")
        if text is None:
            text = data[0].get("body")
        return torch.tensor([self.spell(text.decode("utf-8"))])

    def inference(self, data):
        with torch.no_grad():
            return self.tone(data)

    def postprocess(self, inference_output):
        path = f"{os.environ['TMPDIR']}/{uuid.uuid4().hex}.wav"
        with wave.open(path, "wb") as file:
            file.setparams((1, 2, 22050, 0, "NONE", None))
            file.writeframes(inference_output[0].to(torch.int16).numpy().tobytes())
        with open(path, "rb") as output:
            data = output.read()
        os.remove(path)
        return [data]
